// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/blob_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/file.h"

namespace ks::engine {
namespace {

constexpr size_t kPiece = 2 << 20;

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
  Result<std::string> read(uint64_t bytes) {
    ImageReader image = TRY(ImageReader::open(image_));
    std::string text(bytes, '\0');
    std::atomic<size_t> seen = 0;
    TRY(read_blob(image, "pages", bytes,
                  [&](Reader, uint64_t offset, std::span<const std::byte> part) -> Result<size_t> {
                    seen += part.size();
                    if (!part.empty()) std::memcpy(text.data() + offset, part.data(), part.size());
                    return part.size();
                  }));
    EXPECT_EQ(seen, bytes);
    return text;
  }

  std::string directory_ = "/var/tmp/kernel-swap-blob-XXXXXX";
  std::string image_ = directory_;
  std::string content_;
};

TEST_F(BlobReaderTest, FilesOfAllSizes) {
  for (size_t size : {size_t{1}, size_t{4096}, kPiece - 1, kPiece, 2 * kPiece + 1, 9 * kPiece + 4097}) {
    image_ = directory_ + "/" + std::to_string(size);
    make(size);
    auto text = read(size);
    ASSERT_TRUE(text) << text.error().what;
    EXPECT_TRUE(*text == content_) << size;
  }
}

TEST_F(BlobReaderTest, DamageIsToldInTheEnd) {
  for (size_t size : {kPiece - 1, 3 * kPiece}) {
    image_ = directory_ + "/" + std::to_string(size);
    make(size);
    Fd fd = open_file(image_ + "/pages", O_WRONLY).value();
    ASSERT_EQ(pwrite(fd.get(), "x", 1, static_cast<off_t>(size / 2)), 1);
    auto text = read(size);
    ASSERT_FALSE(text);
    EXPECT_NE(text.error().what.find("checksum"), std::string::npos) << text.error().what;
  }
}

TEST_F(BlobReaderTest, NeitherMoreNorLessThanThereIs) {
  image_ = directory_ + "/image";
  make(2 * kPiece);
  for (size_t size : {size_t{1}, 2 * kPiece - 1, 2 * kPiece + 1, 3 * kPiece}) EXPECT_FALSE(read(size)) << size;
}

TEST_F(BlobReaderTest, WhatTheHelperLeavesTheCallerUses) {
  image_ = directory_ + "/image";
  make(11 * kPiece + 5);
  for (size_t left : {size_t{1}, size_t{4096}, kPiece}) {
    ImageReader image = ImageReader::open(image_).value();
    std::string text(content_.size(), '\0');
    std::atomic<size_t> used = 0;
    auto caller = std::this_thread::get_id();
    auto use = [&](Reader who, uint64_t offset, std::span<const std::byte> part) -> Result<size_t> {
      EXPECT_EQ(who == Reader::caller, std::this_thread::get_id() == caller);
      if (who == Reader::helper) part = part.first(part.size() - std::min(left, part.size()));
      if (!part.empty()) std::memcpy(text.data() + offset, part.data(), part.size());
      used += part.size();
      return part.size();
    };
    ASSERT_TRUE(read_blob(image, "pages", content_.size(), use));
    EXPECT_EQ(used, content_.size());
    EXPECT_TRUE(text == content_) << left;
  }
}

TEST_F(BlobReaderTest, EndsWhenItsUserFails) {
  for (size_t failing : {size_t{0}, 2 * kPiece, 5 * kPiece}) {
    image_ = directory_ + "/" + std::to_string(failing);
    make(6 * kPiece);
    ImageReader image = ImageReader::open(image_).value();
    auto use = [&](Reader, uint64_t offset, auto part) -> Result<size_t> {
      if (offset == failing) return fail("no more");
      return part.size();
    };
    auto done = read_blob(image, "pages", 6 * kPiece, use);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().what, "no more");
  }
}

}  // namespace
}  // namespace ks::engine
