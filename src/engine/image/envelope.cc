// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/envelope.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "engine/image.pb.h"
#include "engine/image/digest.h"

namespace ks::engine {

namespace {

constexpr std::string_view kMagic = "KSWAPENV";
constexpr size_t kPrefixBytes = kMagic.size() + sizeof(uint32_t);
// Longer ones are damage; the bound keeps a flipped bit from being read as a plausible length.
constexpr uint32_t kMostHeaderBytes = 4096;

std::array<char, 4> to_little_endian(uint32_t value) {
  return {static_cast<char>(value), static_cast<char>(value >> 8), static_cast<char>(value >> 16),
          static_cast<char>(value >> 24)};
}

uint32_t from_little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof value; ++i) value |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return value;
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string digest_of(std::string_view kind, uint32_t version, std::string_view body) {
  Digest digest;
  digest.add(bytes_of(kind));
  auto version_bytes = to_little_endian(version);
  digest.add(std::as_bytes(std::span(version_bytes)));
  digest.add(bytes_of(body));
  return digest.finish();
}

// Takes one envelope from the front of `bytes`.
Result<Envelope> take_envelope(std::string_view& bytes) {
  if (bytes.size() < kPrefixBytes) return fail("envelope ends too early");
  if (!bytes.starts_with(kMagic)) return fail("not an envelope");
  uint32_t header_bytes = from_little_endian(bytes.substr(kMagic.size()));
  bytes.remove_prefix(kPrefixBytes);
  if (header_bytes > kMostHeaderBytes) return fail("damaged envelope: its header would be too long");
  if (header_bytes > bytes.size()) return fail("envelope ends too early");
  image::EnvelopeHeader header;
  if (!header.ParseFromArray(bytes.data(), static_cast<int>(header_bytes)))
    return fail("damaged envelope: its header cannot be read");
  bytes.remove_prefix(header_bytes);
  if (header.body_bytes() > bytes.size()) return fail("envelope ends too early");
  std::string_view body = bytes.substr(0, header.body_bytes());
  bytes.remove_prefix(body.size());
  if (digest_of(header.kind(), header.version(), body) != header.digest())
    return fail("damaged envelope: wrong checksum");
  return Envelope{.kind = std::move(*header.mutable_kind()), .version = header.version(), .body = std::string(body)};
}

}  // namespace

std::string seal(std::string_view kind, uint32_t version, const google::protobuf::MessageLite& body) {
  std::string body_text = body.SerializeAsString();
  image::EnvelopeHeader header;
  header.set_kind(std::string(kind));
  header.set_version(version);
  header.set_body_bytes(body_text.size());
  header.set_digest(digest_of(kind, version, body_text));
  std::string header_text = header.SerializeAsString();

  std::string sealed;
  sealed.reserve(kPrefixBytes + header_text.size() + body_text.size());
  auto length = to_little_endian(static_cast<uint32_t>(header_text.size()));
  sealed.append(kMagic).append(length.data(), length.size()).append(header_text).append(body_text);
  return sealed;
}

Result<std::vector<Envelope>> open_envelopes(std::string_view bytes) {
  std::vector<Envelope> envelopes;
  for (std::string_view rest = bytes; !rest.empty();) {
    size_t offset = bytes.size() - rest.size();
    envelopes.push_back(TRY(in(fmt::format("offset {}", offset), take_envelope(rest))));
  }
  return envelopes;
}

Result<Envelope> open_envelope(std::string_view bytes, std::string_view kind, uint32_t newest_version) {
  Envelope envelope = TRY(take_envelope(bytes));
  if (!bytes.empty()) return fail(fmt::format("{} bytes after the end", bytes.size()));
  if (envelope.kind != kind) return fail(fmt::format("holds \"{}\" instead of \"{}\"", envelope.kind, kind));
  if (envelope.version == 0 || envelope.version > newest_version)
    return fail(fmt::format("{} of version {}, which this kernel-swap does not know (newest: {})", kind,
                            envelope.version, newest_version));
  return envelope;
}

Result<> parse_body(const Envelope& envelope, google::protobuf::MessageLite& into) {
  if (!into.ParseFromString(envelope.body))
    return fail(fmt::format("the body of \"{}\" cannot be read", envelope.kind));
  return {};
}

}  // namespace ks::engine
