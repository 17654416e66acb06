// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/blob_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"

namespace ks::engine {
namespace {

constexpr size_t kPiece = 4 << 20;

class BlobReaderTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(mkdtemp(directory_.data())); }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void make(size_t bytes) {
    content_.resize(bytes);
    for (size_t i = 0; i < bytes; ++i) content_[i] = static_cast<char>(i % 251);
    ImageWriter writer = ImageWriter::create(image_).value();
    BlobWriter blob = writer.blob("pages").value();
    ASSERT_TRUE(blob.append(std::as_bytes(std::span(content_))));
    ASSERT_TRUE(writer.finish(std::move(blob)));
    ASSERT_TRUE(writer.commit("a.service"));
  }
  // In parts of at most so many bytes.
  Result<std::string> read(size_t part) {
    ImageReader image = TRY(ImageReader::open(image_));
    BlobReader blob = TRY(BlobReader::open(image, "pages"));
    std::string text;
    while (text.size() < content_.size()) {
      auto bytes = TRY(blob.next(part));
      EXPECT_FALSE(bytes.empty());
      EXPECT_LE(bytes.size(), part);
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    TRY(blob.finish());
    return text;
  }

  std::string directory_ = "/var/tmp/kernel-swap-blob-XXXXXX";
  std::string image_ = directory_;
  std::string content_;
};

TEST_F(BlobReaderTest, AllSizesInPartsOfAllSizes) {
  for (size_t size : {size_t{1}, size_t{4096}, kPiece - 1, kPiece, 2 * kPiece + 1, 5 * kPiece + 4097}) {
    image_ = directory_ + "/" + std::to_string(size);
    make(size);
    for (size_t part : {size_t{4096}, size_t{100'001}, 3 * kPiece}) {
      auto text = read(part);
      ASSERT_TRUE(text) << text.error().what;
      EXPECT_TRUE(*text == content_) << size << " in parts of " << part;
    }
  }
}

TEST_F(BlobReaderTest, DamageIsToldInTheEnd) {
  for (size_t size : {kPiece - 1, 3 * kPiece}) {
    image_ = directory_ + "/" + std::to_string(size);
    make(size);
    Fd fd = open_file(image_ + "/pages", O_WRONLY).value();
    ASSERT_EQ(pwrite(fd.get(), "x", 1, static_cast<off_t>(size / 2)), 1);
    auto text = read(kPiece);
    ASSERT_FALSE(text);
    EXPECT_NE(text.error().what.find("checksum"), std::string::npos) << text.error().what;
  }
}

TEST_F(BlobReaderTest, NoMoreThanThereIs) {
  for (size_t size : {kPiece - 1, 3 * kPiece}) {
    image_ = directory_ + "/" + std::to_string(size);
    make(size);
    ImageReader image = ImageReader::open(image_).value();
    BlobReader blob = BlobReader::open(image, "pages").value();
    EXPECT_FALSE(blob.finish());
    for (size_t got = 0; got < size; got += blob.next(kPiece).value().size()) continue;
    EXPECT_FALSE(blob.next(1));
  }
}

TEST_F(BlobReaderTest, MayBeDropped) {
  image_ = directory_ + "/image";
  make(6 * kPiece);
  ImageReader image = ImageReader::open(image_).value();
  BlobReader blob = BlobReader::open(image, "pages").value();
  EXPECT_TRUE(blob.next(5000));
}

}  // namespace
}  // namespace ks::engine
