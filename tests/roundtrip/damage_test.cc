// SPDX-License-Identifier: LGPL-2.1-or-later
// Images that are damaged, and disks that are full.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/file.h"
#include "engine_process.h"
#include "family.h"
#include "subject.h"

namespace ks::test {
namespace {

class Damage : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
    subject_.emplace(place_, "steady");
    ASSERT_EQ(subject_->await_ready(), "");
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    for (const auto& entry : std::filesystem::directory_iterator(image_)) {
      std::string name = entry.path().filename();
      // A pin is a link to a file of the system.
      if (!name.starts_with("pin-")) files_.push_back(name);
    }
    std::ranges::sort(files_);
    ASSERT_GE(files_.size(), 10u);  // four of the whole, two or more of each process
  }

  void expect_failure(const std::string& file, const std::string& damage) {
    Outcome outcome = EngineProcess::restore(image_).wait();
    EXPECT_EQ(outcome.end, Outcome::End::failed) << file << ", " << damage << ": " << outcome;
    EXPECT_NE(outcome.text.find(file), std::string::npos) << damage << ": " << outcome;
    reap();
    EXPECT_TRUE(descendants(::getpid()).empty()) << file << ", " << damage;
  }
  void restore_and_verify() {
    forget_end(subject_->pid());
    Outcome outcome = EngineProcess::restore(image_).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
  }

  Workplace place_;
  std::string image_ = place_.file("image");
  std::optional<Subject> subject_;
  std::vector<std::string> files_;
};

void flip(const std::string& path, off_t at) {
  Fd file = open_file(path, O_RDWR).value();
  char byte = 0;
  ASSERT_EQ(::pread(file.get(), &byte, 1, at), 1);
  byte = static_cast<char>(byte ^ 0x10);
  ASSERT_EQ(::pwrite(file.get(), &byte, 1, at), 1);
}

TEST_F(Damage, OfAByteIsFoundInEveryFile) {
  for (const auto& file : files_) {
    std::string path = image_ + "/" + file;
    auto size = static_cast<off_t>(std::filesystem::file_size(path));
    for (off_t at : {off_t{0}, size / 2, size - 1}) {
      flip(path, at);
      expect_failure(file, fmt::format("byte {} of {}", at, size));
      flip(path, at);
    }
  }
  restore_and_verify();
}

TEST_F(Damage, OfTheLengthIsFoundInEveryFile) {
  for (const auto& file : files_) {
    std::string path = image_ + "/" + file;
    auto size = std::filesystem::file_size(path);
    Fd last = open_file(path, O_RDWR).value();
    char byte = 0;
    ASSERT_EQ(::pread(last.get(), &byte, 1, static_cast<off_t>(size - 1)), 1);
    ASSERT_EQ(::ftruncate(last.get(), static_cast<off_t>(size - 1)), 0);
    expect_failure(file, "too short");
    ASSERT_EQ(::pwrite(last.get(), &byte, 1, static_cast<off_t>(size - 1)), 1);
    ASSERT_EQ(::ftruncate(last.get(), static_cast<off_t>(size + 1)), 0);
    expect_failure(file, "too long");
    ASSERT_EQ(::ftruncate(last.get(), static_cast<off_t>(size)), 0);
    std::filesystem::rename(path, place_.file("away"));
    expect_failure(file, "missing");
    std::filesystem::rename(place_.file("away"), path);
  }
  restore_and_verify();
}

class FullDisk : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
    // Before the program, which must be in the same namespace.
    if (::unshare(CLONE_NEWNS) || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr))
      GTEST_SKIP() << "no mount namespaces";
    std::filesystem::create_directory(disk_);
    subject_.emplace(place_, "shared_anonymous");
    ASSERT_EQ(subject_->await_ready(), "");
  }
  void TearDown() override { ::umount(disk_.c_str()); }

  void expect_nothing_left(const Outcome& outcome) {
    ASSERT_EQ(outcome.end, Outcome::End::failed) << outcome;
    auto left = list_directory(disk_);
    ASSERT_TRUE(left);
    EXPECT_TRUE(left->empty()) << left->front();
  }
  void verify() {
    Outcome outcome = EngineProcess::dump(subject_->pid(), place_.file("image"), {}).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    forget_end(subject_->pid());
    outcome = EngineProcess::restore(place_.file("image")).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
  }

  Workplace place_;
  std::string disk_ = place_.file("disk");
  std::optional<Subject> subject_;
};

TEST_F(FullDisk, LeavesNothing) {
  int failures = 0;
  for (int kibibytes = 4; kibibytes <= 1 << 20; kibibytes = kibibytes * 5 / 4 + 4) {
    ASSERT_EQ(::mount("tmpfs", disk_.c_str(), "tmpfs", 0, fmt::format("mode=700,size={}k", kibibytes).c_str()), 0);
    Outcome outcome = EngineProcess::dump(subject_->pid(), disk_ + "/image", {.leave_running = true}).wait();
    if (outcome.done()) break;
    EXPECT_NE(outcome.text.find("No space left on device"), std::string::npos) << outcome;
    ASSERT_NO_FATAL_FAILURE(expect_nothing_left(outcome));
    ASSERT_EQ(::umount(disk_.c_str()), 0);
    ++failures;
  }
  EXPECT_GE(failures, 5);
  verify();
}

TEST_F(FullDisk, NorDoesALimit) {
  int failures = 0;
  for (rlim_t limit = 1; limit < 1 << 30; limit = limit * 3 / 2 + 1) {
    Outcome outcome = EngineProcess([&]() -> Result<> {
                        ::signal(SIGXFSZ, SIG_IGN);
                        rlimit size{limit, limit};
                        ::setrlimit(RLIMIT_FSIZE, &size);
                        auto engine = TRY(engine::Engine::open());
                        auto frozen = TRY(engine.freeze({.root = subject_->pid()}));
                        TRY(frozen.dump(disk_ + "/image", {.leave_running = true}));
                        return {};
                      }).wait();
    if (outcome.done()) break;
    EXPECT_NE(outcome.text.find("File too large"), std::string::npos) << outcome;
    ASSERT_NO_FATAL_FAILURE(expect_nothing_left(outcome));
    ++failures;
  }
  EXPECT_GE(failures, 5);
  verify();
}

}  // namespace
}  // namespace ks::test
