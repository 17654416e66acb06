// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/file_part.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

namespace ks::engine {
namespace {

std::string text_of(const FilePart& part) {
  return {reinterpret_cast<const char*>(part.bytes().data()), part.bytes().size()};
}

TEST(FilePart, IsThePageCacheItself) {
  Fd file(::memfd_create("part", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 8192), 0);
  auto part = FilePart::open(file.get(), 4096, 4096, "part");
  ASSERT_TRUE(part) << part.error().what;
  ASSERT_EQ(::pwrite(file.get(), "late", 4, 4096), 4);
  FilePart moved = *std::move(part);
  EXPECT_EQ(text_of(moved).substr(0, 5), std::string("late\0", 5));
}

TEST(FilePart, IsReadWhereNothingCanBeMapped) {
  std::string version = read_file("/proc/version").value();
  Fd file = open_file("/proc/version", O_RDONLY).value();
  auto part = FilePart::open(file.get(), 0, version.size(), "version");
  ASSERT_TRUE(part) << part.error().what;
  FilePart moved;
  moved = *std::move(part);
  EXPECT_EQ(text_of(moved), version);
}

TEST(FilePart, NothingBehindTheEnd) {
  Fd file(::memfd_create("part", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), 4096), 0);
  auto part = FilePart::open(file.get(), 0, 8192, "pages-7");
  ASSERT_FALSE(part);
  EXPECT_NE(part.error().what.find("pages-7"), std::string::npos) << part.error().what;
}

}  // namespace
}  // namespace ks::engine
