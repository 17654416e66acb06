// SPDX-License-Identifier: LGPL-2.1-or-later
// Every program goes through every way of being dumped and restored, and finds itself unchanged.
#include <gtest/gtest.h>

#include <thread>

#include "base/file.h"
#include "engine_process.h"
#include "family.h"
#include "portrait.h"
#include "subject.h"

namespace ks::test {
namespace {

struct Program {
  std::string name;
  std::vector<std::string> arguments = {};
  bool still = true;  // /proc shows the same as long as it waits

  std::string label() const {
    std::string text = name.substr(0, name.find('.'));
    for (const auto& argument : arguments) text += "_" + argument;
    return text;
  }
};

const std::vector<Program> kPrograms = {
    {"advice"},
    {"alternate_stack"},
    {"anonymous"},
    {"clocks"},
    {"copy_on_write", {"huge"}},
    {"copy_on_write", {"orphans"}},
    {"copy_on_write", {"parent"}},
    {"credentials", {"capable"}},
    {"credentials", {"mixed"}},
    {"credentials", {"secure"}},
    {"credentials", {"user"}},
    {"deadlines", {}, false},
    {"deleted_executable"},
    {"deleted_files"},
    {"devices"},
    {"directories"},
    {"directories", {"chroot"}},
    {"directories", {"deleted"}},
    {"directories", {"memory"}},
    {"directories", {"outside"}},
    {"directory_reading"},
    {"epolls"},
    {"eventfds"},
    {"fifos"},
    {"files"},
    {"files_in_memory"},
    {"floating_point"},
    {"guard_pages"},
    {"handlers"},
    {"heap"},
    {"huge_pages"},
    {"huge_tlb"},
    {"inotify"},
    {"inotify", {"chroot"}},
    {"interval_timers"},
    {"kernel_files"},
    {"keyrings"},
    {"locks"},
    {"many"},
    {"memfds"},
    {"memfds", {"huge"}},
    {"names", {"argument"}},
    {"namespaces", {"ipc"}},
    {"namespaces", {"net"}},
    {"namespaces", {"user"}},
    {"namespaces", {"uts"}},
    {"namespaces", {"user", "uts", "ipc", "net"}},
    {"orphans", {"deep", "100"}, false},
    {"orphans", {"orphans"}},
    {"orphans", {"wide", "200"}, false},
    {"parent_death"},
    {"parent_death", {"user"}},
    {"pending"},
    {"pidfds"},
    {"pipes"},
    {"posix_timers", {}, false},
    {"private_file"},
    {"protections"},
    {"registers"},
    {"renamed_files"},
    {"robust"},
    {"rseq"},
    {"seccomp", {"privileged"}},
    {"seccomp", {"unprivileged"}},
    {"settings"},
    {"shared_anonymous"},
    {"shared_file"},
    {"sharing", {"descriptors"}},
    {"sharing", {"directories"}},
    {"sharing", {"descriptors", "directories"}},
    {"signal_storm", {}, false},
    {"signalfds"},
    {"sleeps"},
    {"stack"},
    {"stopped", {}, false},
    {"suspended"},
    {"system_v_memory", {}, false},
    {"thread_churn", {}, false},
    {"terminals"},
    {"thread_directories"},
    {"thread_settings"},
    {"threads"},
    {"timerfds", {}, false},
    {"trap", {"blocked"}},
    {"trap", {"handled"}},
    {"trap", {"ignored"}},
    {"tree"},
    {"vfork", {}, false},
    {"waits"},
    {"worker.py", {}, false},
    {"zombies"},
};

class RoundTrip : public testing::TestWithParam<Program> {
 protected:
  static void SetUpTestSuite() { become_reaper(); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    subject_.emplace(place_, GetParam().name, GetParam().arguments);
    std::string trouble = subject_->await_ready();
    if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
    ASSERT_EQ(trouble, "");
    if (GetParam().still) before_ = portray(subject_->pid());
  }

  void dump(const DumpPlan& plan) {
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, plan).wait();
    for (int i = 0; i < 20 && outcome.text.find("try again") != std::string::npos; ++i)
      outcome = EngineProcess::dump(subject_->pid(), image_, plan).wait();
    ASSERT_TRUE(outcome.done()) << outcome << "\n" << subject_->output();
    if (!plan.leave_running) return;
    ASSERT_TRUE(remove_tree(image_));
  }
  void restore() {
    forget_end(subject_->pid());
    Outcome outcome = EngineProcess::restore(image_).wait();
    ASSERT_TRUE(outcome.done()) << outcome;
    ASSERT_TRUE(remove_tree(image_));
  }
  void verify() {
    if (GetParam().still) {
      std::string changes = differences(before_, portray(subject_->pid()));
      EXPECT_TRUE(changes.empty()) << changes;
    }
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
  }

  Workplace place_;
  std::string image_ = place_.file("image");
  std::optional<Subject> subject_;
  Portrait before_;
};

TEST_P(RoundTrip, Restored) {
  ASSERT_NO_FATAL_FAILURE(dump({.linger = 30ms}));
  std::this_thread::sleep_for(30ms);
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_P(RoundTrip, LeftRunning) {
  ASSERT_NO_FATAL_FAILURE(dump({.leave_running = true}));
  verify();
}

TEST_P(RoundTrip, LeftRunningThenRestored) {
  ASSERT_NO_FATAL_FAILURE(dump({.leave_running = true}));
  ASSERT_NO_FATAL_FAILURE(dump({}));
  ASSERT_NO_FATAL_FAILURE(restore());
  verify();
}

TEST_P(RoundTrip, RestoredAgainAndAgain) {
  for (int cycle = 0; cycle < 20; ++cycle) {
    ASSERT_NO_FATAL_FAILURE(dump({})) << "cycle " << cycle;
    ASSERT_NO_FATAL_FAILURE(restore()) << "cycle " << cycle;
    std::this_thread::sleep_for(2ms);
  }
  verify();
}

INSTANTIATE_TEST_SUITE_P(Programs, RoundTrip, testing::ValuesIn(kPrograms),
                         [](const auto& info) { return info.param.label(); });

}  // namespace
}  // namespace ks::test
