// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/remote.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>

namespace ks::engine {
namespace {

class RemoteWords : public testing::Test {
 protected:
  void SetUp() override {
    page_ = static_cast<char*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(page_, MAP_FAILED);
    std::string_view("0123456789abcdefghij").copy(page_, kBytes);
    ASSERT_EQ(::mprotect(page_, kBytes, PROT_NONE), 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::ptrace(PTRACE_TRACEME, 0, 0, 0);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_TRUE(::waitpid(child_, &status, 0) == child_ && WIFSTOPPED(status));
  }
  void TearDown() override {
    ::kill(child_, SIGKILL);
    EXPECT_EQ(::waitpid(child_, nullptr, 0), child_);
    ::munmap(page_, kBytes);
  }

  static constexpr size_t kBytes = 4096;
  char* page_ = nullptr;
  pid_t child_ = 0;
};

TEST_F(RemoteWords, GoToWhereNobodyMayWriteAndLeaveWhatIsBeside) {
  auto memory = RemoteMemory::open(child_);
  ASSERT_TRUE(memory);
  RemoteAddress page{reinterpret_cast<uint64_t>(page_)};
  std::string_view text = "ABCDEFGHIJKL";
  auto written = memory->write_by_words(page + 3, std::as_bytes(std::span(text)));
  ASSERT_TRUE(written) << written.error().what;
  std::string got(20, ' ');
  auto read = memory->read_by_words(page, std::as_writable_bytes(std::span(got)));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(got, "012ABCDEFGHIJKLfghij");
  got.assign(5, ' ');
  ASSERT_TRUE(memory->read_by_words(page + 6, std::as_writable_bytes(std::span(got))));
  EXPECT_EQ(got, "DEFGH");
}

}  // namespace
}  // namespace ks::engine
