// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "engine/image.pb.h"

namespace ks::engine {
namespace {

namespace fs = std::filesystem;

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-store-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    parent_ = path;
    image_ = parent_ + "/a.service";
  }
  void TearDown() override { fs::remove_all(parent_); }

  size_t entries() const { return list_directory(parent_)->size(); }
  std::string at(const std::string& name) const { return image_ + "/" + name; }

  void write_image() {
    auto writer = ImageWriter::create(image_);
    ASSERT_TRUE(writer) << writer.error().what;
    ASSERT_TRUE(writer->put("tasks", "the tasks"));
    auto blob = writer->blob("pages");
    ASSERT_TRUE(blob);
    ASSERT_TRUE(blob->append(std::as_bytes(std::span(pages_).first(5000))));
    ASSERT_TRUE(blob->append(std::as_bytes(std::span(pages_).subspan(5000))));
    EXPECT_EQ(blob->size(), pages_.size());
    ASSERT_TRUE(writer->finish(std::move(*blob)));
    auto committed = writer->commit("a.service");
    ASSERT_TRUE(committed) << committed.error().what;
  }

  void overwrite(const std::string& name, const std::string& content) {
    std::ofstream(at(name), std::ios::binary | std::ios::trunc) << content;
  }

  void write_manifest(const image::Manifest& manifest, uint32_t version = kImageFormat) {
    overwrite("manifest.ks", seal("manifest", version, manifest));
  }
  image::Manifest manifest() {
    image::Manifest manifest;
    auto envelope = open_envelope(read_file(at("manifest.ks")).value(), "manifest", kImageFormat);
    EXPECT_TRUE(parse_body(envelope.value(), manifest));
    return manifest;
  }

  std::string open_error() {
    auto reader = ImageReader::open(image_);
    if (reader) return "";
    EXPECT_TRUE(reader.error().what.starts_with(image_ + ": ")) << reader.error().what;
    return reader.error().what.substr(image_.size() + 2);
  }

  std::string pages_ = std::string(20000, 'p');
  std::string parent_, image_;
};

TEST_F(StoreTest, ReadsWhatWasWritten) {
  write_image();
  EXPECT_EQ(entries(), 1u) << "no partial directory is left";
  EXPECT_EQ(list_directory(image_)->size(), 3u);
  auto reader = ImageReader::open(image_ + "/");
  ASSERT_TRUE(reader) << reader.error().what;
  EXPECT_EQ(reader->unit(), "a.service");
  EXPECT_EQ(reader->format(), kImageFormat);
  EXPECT_EQ(reader->architecture(), "x86_64");
  utsname names;
  uname(&names);
  EXPECT_EQ(reader->kernel(), names.release);
  EXPECT_LE(std::abs(reader->created() - time(nullptr)), 10);
  EXPECT_EQ(reader->read("tasks").value(), "the tasks");
  EXPECT_EQ(reader->read("pages").value(), pages_);
  EXPECT_EQ(reader->files().size(), 2u);
  EXPECT_EQ(reader->file("pages")->bytes, pages_.size());
  EXPECT_EQ(reader->file("pages")->digest, Digest::of(pages_));
  EXPECT_EQ(read_all(reader->blob("pages")->get(), "pages").value(), pages_);
  EXPECT_TRUE(verify_image(*reader));
  EXPECT_EQ(reader->read("none").error().code, ENOENT);
}

TEST_F(StoreTest, IsItsOwnersAlone) {
  mode_t mask = umask(0);
  write_image();
  umask(mask);
  struct stat facts;
  ASSERT_EQ(stat(image_.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0700u);
  auto names = list_directory(image_).value();
  for (const std::string& name : names) {
    ASSERT_EQ(stat(at(name).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07777, 0600u) << name;
  }
}

TEST_F(StoreTest, AnEmptyFileAndManyFiles) {
  {
    ImageWriter writer = ImageWriter::create(image_).value();
    ASSERT_TRUE(writer.put("empty", ""));
    for (int i = 0; i < 300; ++i) ASSERT_TRUE(writer.put("file-" + std::to_string(i), std::to_string(i)));
    ASSERT_TRUE(writer.commit(""));
  }
  auto reader = ImageReader::open(image_);
  ASSERT_TRUE(reader) << reader.error().what;
  EXPECT_EQ(reader->files().size(), 301u);
  EXPECT_EQ(reader->read("empty").value(), "");
  EXPECT_EQ(reader->read("file-299").value(), "299");
  EXPECT_TRUE(verify_image(*reader));
}

TEST_F(StoreTest, NothingIsSeenBeforeTheCommitAndNothingLeftWithoutOne) {
  {
    ImageWriter writer = ImageWriter::create(image_).value();
    ASSERT_TRUE(writer.put("tasks", "x"));
    EXPECT_FALSE(fs::exists(image_));
    EXPECT_EQ(entries(), 1u);
    ImageWriter moved = std::move(writer);
    ASSERT_TRUE(moved.put("more", "x"));
  }
  EXPECT_EQ(entries(), 0u);
}

TEST_F(StoreTest, NeverReplacesAnything) {
  fs::create_directory(image_);
  EXPECT_EQ(ImageWriter::create(image_).error().code, EEXIST);
  fs::remove(image_);
  {
    ImageWriter writer = ImageWriter::create(image_).value();
    ASSERT_TRUE(writer.put("tasks", "x"));
    fs::create_directory(image_);  // empty, so rename(2) would replace it
    EXPECT_EQ(writer.commit("a.service").error().code, EEXIST);
  }
  EXPECT_EQ(entries(), 1u);
  EXPECT_TRUE(fs::is_empty(image_));
}

TEST_F(StoreTest, NeedsAParentAndAName) {
  EXPECT_EQ(ImageWriter::create(parent_ + "/none/image").error().code, ENOENT);
  EXPECT_EQ(ImageWriter::create(parent_ + "/..").error().code, EINVAL);
  EXPECT_EQ(ImageWriter::create("").error().code, EINVAL);
  EXPECT_EQ(ImageWriter::create("/").error().code, EINVAL);
}

TEST_F(StoreTest, RefusesNamesThatLeadElsewhere) {
  ImageWriter writer = ImageWriter::create(image_).value();
  std::string with_null("a\0b", 3);
  for (std::string name : {"", ".", "..", "a/b", "../x", "/x", "manifest.ks", "kernel-swap.partial"})
    EXPECT_EQ(writer.put(name, "x").error().code, EINVAL) << name;
  EXPECT_FALSE(writer.put(with_null, "x"));
  EXPECT_FALSE(writer.put(std::string(256, 'n'), "x"));
  ASSERT_TRUE(writer.put("tasks", "x"));
  EXPECT_EQ(writer.put("tasks", "y").error().code, EEXIST) << "a name is used once";
}

TEST_F(StoreTest, ABlobThatWasNeverFinishedIsNoImage) {
  {
    ImageWriter writer = ImageWriter::create(image_).value();
    auto blob = writer.blob("pages");
    EXPECT_FALSE(writer.commit("a.service"));
  }
  EXPECT_EQ(entries(), 0u);
}

// What a dump leaves that was killed at any of three points.
TEST_F(StoreTest, TakesTheNameOfAKilledDump) {
  for (std::string left : {"", "kernel-swap.partial", "manifest.ks"}) {
    std::string partial = image_ + ".partial";
    fs::create_directory(partial);
    fs::permissions(partial, fs::perms::owner_all);
    if (!left.empty()) {
      std::ofstream(partial + "/" + left) << "x";
      std::ofstream(partial + "/pages") << "x";
    }
    write_image();
    EXPECT_EQ(entries(), 1u);
    fs::remove_all(image_);
  }
}

TEST_F(StoreTest, AKilledDumpLeavesWhatTheNextOneRemoves) {
  pid_t child = fork();
  if (child == 0) {
    ImageWriter writer = ImageWriter::create(image_).value();
    (void)writer.put("tasks", "x");
    raise(SIGKILL);
  }
  waitpid(child, nullptr, 0);
  EXPECT_EQ(entries(), 1u);
  EXPECT_FALSE(fs::exists(image_));
  write_image();
  EXPECT_EQ(entries(), 1u);
}

TEST_F(StoreTest, LeavesWhatIsNotOurs) {
  std::string partial = image_ + ".partial";
  fs::create_directory(partial);
  fs::permissions(partial, fs::perms::owner_all);
  std::ofstream(partial + "/precious") << "x";
  auto writer = ImageWriter::create(image_);
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().what, image_ +
                                     ": a.service.partial: exists and is not what an interrupted dump leaves; "
                                     "remove it first");
  EXPECT_TRUE(fs::exists(partial + "/precious"));
  std::ofstream(partial + "/kernel-swap.partial") << "";
  fs::permissions(partial, fs::perms(0755));
  EXPECT_FALSE(ImageWriter::create(image_)) << "open to others";
  fs::permissions(partial, fs::perms(0700));
  fs::create_directory(partial + "/deeper");
  EXPECT_FALSE(ImageWriter::create(image_)) << "holds a directory";
  fs::remove_all(partial);
  fs::create_directory_symlink("/tmp", partial);
  EXPECT_FALSE(ImageWriter::create(image_)) << "a link";
  EXPECT_TRUE(fs::is_symlink(partial));
}

TEST_F(StoreTest, LeavesADumpThatIsAtWork) {
  ImageWriter first = ImageWriter::create(image_).value();
  EXPECT_EQ(ImageWriter::create(image_).error().code, EBUSY);
  ASSERT_TRUE(first.put("tasks", "x"));
  EXPECT_TRUE(first.commit("a.service"));
}

// A pattern that repeats with no power of two, so that a piece in the wrong place shows.
std::string pattern(size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

// Until an error comes, which it may with a later call.
Result<> write_blob(ImageWriter& writer, std::string_view content, size_t part) {
  BlobWriter blob = TRY(writer.blob("pages"));
  for (size_t at = 0; at < content.size(); at += part)
    TRY(blob.append(std::as_bytes(std::span(content.substr(at, part)))));
  return writer.finish(std::move(blob));
}

TEST_F(StoreTest, BlobsOfAllSizesInPartsOfAllSizes) {
  constexpr size_t kPiece = 1 << 20;
  for (size_t size : {size_t{1}, size_t{4096}, kPiece - 1, kPiece, kPiece + 1, 5 * kPiece, 5 * kPiece + 4097})
    for (size_t part : {size_t{4096}, size_t{100'001}, 3 * kPiece}) {
      std::string content = pattern(size);
      ImageWriter writer = ImageWriter::create(image_).value();
      ASSERT_TRUE(write_blob(writer, content, part));
      ASSERT_TRUE(writer.commit("a.service"));
      auto reader = ImageReader::open(image_);
      ASSERT_TRUE(reader) << reader.error().what;
      EXPECT_TRUE(reader->read("pages").value() == content) << size << " in parts of " << part;
      fs::remove_all(image_);
    }
}

TEST_F(StoreTest, ABlobIsFilledInPlaceAlsoWhenMoved) {
  std::string content = pattern(7'000'000);
  ImageWriter writer = ImageWriter::create(image_).value();
  BlobWriter first = writer.blob("pages").value(), blob = std::move(first);
  for (size_t at = 0; at < content.size();) {
    std::span<std::byte> room = blob.room();
    ASSERT_FALSE(room.empty());
    size_t part = std::min({room.size(), content.size() - at, size_t{300'000}});
    memcpy(room.data(), content.data() + at, part);
    ASSERT_TRUE(blob.filled(part));
    at += part;
    if (at > 3'000'000) blob = BlobWriter(std::move(blob));
  }
  EXPECT_EQ(blob.size(), content.size());
  ASSERT_TRUE(writer.finish(std::move(blob)));
  ASSERT_TRUE(writer.commit("a.service"));
  EXPECT_TRUE(ImageReader::open(image_)->read("pages").value() == content);
}

TEST_F(StoreTest, ABlobMayBeDropped) {
  {
    ImageWriter writer = ImageWriter::create(image_).value();
    BlobWriter blob = writer.blob("pages").value();
    std::string content = pattern(10'000'000);
    ASSERT_TRUE(blob.append(std::as_bytes(std::span(content))));
  }
  EXPECT_EQ(entries(), 0u);
}

#ifndef __SANITIZE_ADDRESS__  // it needs address space of its own
TEST_F(StoreTest, ABlobNeedsNoThread) {
  std::string content = pattern(5'000'000);
  pid_t child = fork();
  if (child == 0) {
    // No room for the stack of one.
    uint64_t pages = std::stoull(read_file("/proc/self/statm").value()) + 1600;
    rlimit limit = {pages * 4096, pages * 4096};
    setrlimit(RLIMIT_AS, &limit);
    ImageWriter writer = ImageWriter::create(image_).value();
    _exit(write_blob(writer, content, 300'000) && writer.commit("a.service") ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(ImageReader::open(image_).value().read("pages").value() == content);
}
#endif

// A limit on file sizes fails a write in the middle as a full disk does.
TEST_F(StoreTest, AFailedWriteLeavesNothing) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit = {5'000'000, 5'000'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    bool failed = true;
    for (size_t size : {5'000'001, 5'500'000, 20'000'000}) {
      ImageWriter writer = ImageWriter::create(image_).value();
      auto written = write_blob(writer, pattern(size), 300'000);
      failed = failed && !written && written.error().code == EFBIG && !writer.commit("a.service");
    }
    _exit(failed && entries() == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(StoreTest, AFullDiskLeavesNothing) {
  std::string disk = parent_ + "/disk";
  fs::create_directory(disk);
  if (system(("mount -t tmpfs -o size=64k tmpfs " + disk + " 2>/dev/null").c_str()))
    GTEST_SKIP() << "needs to mount a tmpfs";
  for (size_t size : {100'000, 20'000'000}) {
    ImageWriter writer = ImageWriter::create(disk + "/image").value();
    auto written = write_blob(writer, pattern(size), 4096);
    EXPECT_EQ(written ? 0 : written.error().code, ENOSPC);
  }
  EXPECT_TRUE(fs::is_empty(disk));
  ASSERT_EQ(system(("umount " + disk).c_str()), 0);
}

TEST_F(StoreTest, WhatIsNoImage) {
  EXPECT_EQ(open_error(), "No such file or directory");
  fs::create_directory(image_);
  fs::permissions(image_, fs::perms::owner_all);
  EXPECT_EQ(open_error(), "not an image of kernel-swap: it has no manifest.ks");
  fs::remove(image_);
  std::ofstream(image_) << "x";
  EXPECT_EQ(open_error(), "Not a directory");
}

TEST_F(StoreTest, FollowsNoLinks) {
  write_image();
  std::string link = parent_ + "/link";
  fs::create_directory_symlink(image_, link);
  EXPECT_FALSE(ImageReader::open(link));
  EXPECT_FALSE(ImageReader::open(link + "//"));
  fs::rename(at("tasks"), parent_ + "/elsewhere");
  fs::create_symlink(parent_ + "/elsewhere", at("tasks"));
  EXPECT_EQ(open_error(), "tasks: Too many levels of symbolic links");
  fs::remove(at("tasks"));
  ASSERT_EQ(mkfifo(at("tasks").c_str(), 0600), 0);
  EXPECT_EQ(open_error(), "tasks: not a regular file");
}

TEST_F(StoreTest, OpenToOthersIsNoImage) {
  write_image();
  fs::permissions(image_, fs::perms(0710));
  EXPECT_EQ(open_error(), "is open to others than its owner");
  fs::permissions(image_, fs::perms(0700));
  fs::permissions(at("tasks"), fs::perms(0620));
  EXPECT_EQ(open_error(), "tasks: is open to others than its owner");
  fs::permissions(at("tasks"), fs::perms(0600));
  if (chown(at("tasks").c_str(), 1234, 1234)) GTEST_SKIP() << "needs root";
  EXPECT_EQ(open_error(), "tasks: does not belong to root");
  ASSERT_EQ(chown(image_.c_str(), 1234, 1234), 0);
  EXPECT_EQ(open_error(), "does not belong to root");
}

TEST_F(StoreTest, DamagedFilesAreNamed) {
  write_image();
  overwrite("tasks", "the task");
  EXPECT_EQ(open_error(), "tasks: damaged: 8 bytes instead of 9");
  overwrite("tasks", "the tasks\n");
  EXPECT_EQ(open_error(), "tasks: damaged: 10 bytes instead of 9");
  overwrite("tasks", "the tusks");
  auto reader = ImageReader::open(image_);
  ASSERT_TRUE(reader) << reader.error().what;
  EXPECT_EQ(reader->read("tasks").error().what, "tasks: damaged: wrong checksum");
  EXPECT_EQ(verify_image(*reader).error().what, "tasks: damaged: wrong checksum");
  fs::remove(at("tasks"));
  EXPECT_EQ(open_error(), "tasks: No such file or directory");
  EXPECT_EQ(reader->read("tasks").error().code, ENOENT);
}

TEST_F(StoreTest, EveryFlippedBitOfTheManifestIsFound) {
  write_image();
  const std::string good = read_file(at("manifest.ks")).value();
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string damaged = good;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    std::fstream(at("manifest.ks"), std::ios::in | std::ios::out) << damaged;
    EXPECT_NE(open_error(), "") << "bit " << bit;
  }
  overwrite("manifest.ks", good.substr(0, good.size() - 1));
  EXPECT_EQ(open_error(), "manifest.ks: envelope ends too early");
  overwrite("manifest.ks", good + good);
  EXPECT_NE(open_error(), "");
  overwrite("manifest.ks", good);
  EXPECT_EQ(open_error(), "");
}

TEST_F(StoreTest, NewerFormatsAndOtherMachines) {
  write_image();
  image::Manifest good = manifest(), other = good;
  other.set_format(kImageFormat + 1);
  write_manifest(other, kImageFormat + 1);
  EXPECT_EQ(open_error(), "manifest.ks: manifest of version 2, which this kernel-swap does not know (newest: 1)");
  write_manifest(other);
  EXPECT_EQ(open_error(), "image of format 2, which this kernel-swap does not know (newest: 1)");
  other = good;
  other.set_architecture("aarch64");
  write_manifest(other);
  EXPECT_EQ(open_error(), "image of a machine of another architecture: aarch64");
}

TEST_F(StoreTest, AManifestThatNamesFilesElsewhere) {
  write_image();
  image::Manifest good = manifest(), other = good;
  for (std::string name : {"../x", "/etc/passwd", "", "..", "manifest.ks"}) {
    other.mutable_files(0)->set_name(name);
    write_manifest(other);
    EXPECT_EQ(open_error(), "manifest: \"" + name + "\" is no name for a file of an image");
  }
  other = good;
  *other.add_files() = good.files(0);
  write_manifest(other);
  EXPECT_EQ(open_error(), "manifest: names pages twice");
}

}  // namespace
}  // namespace ks::engine
