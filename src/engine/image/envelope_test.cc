// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/envelope.h"

#include <gtest/gtest.h>

#include <span>

#include "engine/image.pb.h"
#include "engine/image/digest.h"

namespace ks::engine {
namespace {

image::Manifest message(const std::string& unit) {
  image::Manifest manifest;
  manifest.set_unit(unit);
  manifest.set_created(1700000000);
  return manifest;
}

TEST(Digest, IsWhatXxhsumPrints) {
  EXPECT_EQ(Digest::of(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(Digest::of("kernel-swap").size(), 32u);
}

TEST(Digest, OfPartsIsThatOfTheWhole) {
  std::string text(100000, 'x');
  for (size_t part : {1, 7, 4096, 99999}) {
    Digest digest;
    auto bytes = std::as_bytes(std::span(text));
    for (size_t at = 0; at < bytes.size(); at += part)
      digest.add(bytes.subspan(at, std::min(part, bytes.size() - at)));
    EXPECT_EQ(digest.finish(), Digest::of(text));
    EXPECT_EQ(digest.finish(), Digest::of(text)) << "finish() may be called again";
  }
}

TEST(Envelope, OpensWhatWasSealed) {
  auto envelope = open_envelope(seal("manifest", 3, message("a.service")), "manifest", 4);
  ASSERT_TRUE(envelope) << envelope.error().what;
  EXPECT_EQ(envelope->kind, "manifest");
  EXPECT_EQ(envelope->version, 3u);
  image::Manifest manifest;
  ASSERT_TRUE(parse_body(*envelope, manifest));
  EXPECT_EQ(manifest.unit(), "a.service");
  EXPECT_EQ(manifest.created(), 1700000000);
}

TEST(Envelope, TextNeedNotBeUtf8) {
  auto envelope = open_envelope(seal("odd\xff", 1, message("\xff\xfe/\xc3")), "odd\xff", 1);
  ASSERT_TRUE(envelope) << envelope.error().what;
  image::Manifest manifest;
  ASSERT_TRUE(parse_body(*envelope, manifest));
  EXPECT_EQ(manifest.unit(), "\xff\xfe/\xc3");
}

TEST(Envelope, ManyInARow) {
  EXPECT_TRUE(open_envelopes("")->empty());
  std::string file =
      seal("pipe", 1, message("a")) + seal("eventfd", 2, image::Manifest()) + seal("pipe", 1, message("b"));
  auto envelopes = open_envelopes(file);
  ASSERT_TRUE(envelopes) << envelopes.error().what;
  ASSERT_EQ(envelopes->size(), 3u);
  EXPECT_EQ(envelopes->at(1).kind, "eventfd");
  EXPECT_EQ(envelopes->at(1).version, 2u);
  EXPECT_EQ(envelopes->at(1).body, "");
}

TEST(Envelope, DamageNamesTheOffset) {
  std::string first = seal("pipe", 1, message("a")), file = first + seal("pipe", 1, message("b"));
  file.back() ^= 1;
  EXPECT_EQ(open_envelopes(file).error().what,
            "offset " + std::to_string(first.size()) + ": damaged envelope: wrong checksum");
}

TEST(Envelope, EveryFlippedBitIsFound) {
  const std::string sealed = seal("manifest", 1, message("a.service"));
  for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    std::string damaged = sealed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(open_envelope(damaged, "manifest", ~0u)) << "bit " << bit;
    EXPECT_FALSE(open_envelopes(damaged)) << "bit " << bit;
  }
}

TEST(Envelope, EveryTruncationIsFound) {
  const std::string sealed = seal("manifest", 1, message("a.service"));
  for (size_t length = 0; length < sealed.size(); ++length) {
    EXPECT_FALSE(open_envelope(sealed.substr(0, length), "manifest", 1)) << length;
    EXPECT_EQ(open_envelopes(sealed.substr(0, length)).has_value(), length == 0) << length;
  }
  EXPECT_EQ(open_envelope(sealed + "x", "manifest", 1).error().what, "1 bytes after the end");
}

TEST(Envelope, RefusesOtherKindsAndVersions) {
  std::string sealed = seal("pipe", 2, message("a"));
  EXPECT_EQ(open_envelope(sealed, "manifest", 2).error().what, "holds \"pipe\" instead of \"manifest\"");
  EXPECT_EQ(open_envelope(sealed, "pipe", 1).error().what,
            "pipe of version 2, which this kernel-swap does not know (newest: 1)");
  EXPECT_FALSE(open_envelope(seal("pipe", 0, message("a")), "pipe", 1));
}

TEST(Envelope, ABodyThatIsNoMessage) {
  image::Manifest manifest;
  EXPECT_EQ(parse_body({.kind = "pipe", .version = 1, .body = "\xff\xff"}, manifest).error().what,
            "the body of \"pipe\" cannot be read");
}

}  // namespace
}  // namespace ks::engine
