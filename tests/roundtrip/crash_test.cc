// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine is killed at random instants: of a dump, and every task runs on unharmed; of a restore, and nothing is
// left of it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "base/file.h"
#include "engine/kernel/proc.h"
#include "engine_process.h"
#include "family.h"
#include "hearts.h"
#include "subject.h"

namespace ks::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kDumps = 200, kRestores = 60;

class Crash : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
    subject_.emplace(place_, "steady");
    ASSERT_EQ(subject_->await_ready(), "");
    hearts_.emplace(place_.file("hearts"), kHearts);
    ASSERT_TRUE(all_beat());
    seed_ = std::random_device()();
    if (const char* given = ::getenv("SEED")) seed_ = static_cast<unsigned>(std::strtoul(given, nullptr, 10));
    std::cout << "SEED=" << seed_ << "\n";
    random_.seed(seed_);
  }

  // As trouble(), once every task has had the CPU to get back to its own state.
  std::string lasting_trouble() {
    std::string text = trouble();
    for (auto limit = Clock::now() + 20s * patience(); !text.empty() && Clock::now() < limit; text = trouble())
      std::this_thread::sleep_for(1ms);
    return text;
  }

  // Empty, or what is wrong with the tasks: not running, still traced, or another signal mask than at first.
  std::string trouble() {
    std::string text;
    std::vector<pid_t> pids = descendants(subject_->pid());
    pids.push_back(subject_->pid());
    for (pid_t pid : pids) {
      auto tids = list_directory(fmt::format("/proc/{}/task", pid)).value();
      for (const auto& tid : tids) {
        auto status =
            engine::parse_status(read_file(fmt::format("/proc/{}/task/{}/status", pid, tid)).value()).value();
        if (status.state == 't' || status.state == 'T' || status.state == 'Z' || status.state == 'X')
          text += fmt::format("{}/{} is in state {}\n", pid, tid, status.state);
        if (status.tracer_pid) text += fmt::format("{}/{} is traced\n", pid, tid);
        if (first_look_)
          masks_[status.pid] = status.blocked;
        else if (auto mask = masks_.find(status.pid); mask == masks_.end() || mask->second != status.blocked)
          text += fmt::format("{}/{} blocks {:x}\n", pid, tid, status.blocked);
        ++seen_[status.pid];
      }
    }
    if (!first_look_ && seen_.size() != masks_.size())
      text += fmt::format("{} tasks instead of {}\n", seen_.size(), masks_.size());
    seen_.clear();
    first_look_ = false;
    return text;
  }

  bool all_beat() { return hearts_->all_beat(subject_->pid()); }
  std::chrono::nanoseconds up_to(Clock::duration longest) {
    return std::chrono::nanoseconds(std::uniform_int_distribution<int64_t>(0, longest / 1ns)(random_));
  }
  void end_well() {
    subject_->tell();
    EXPECT_EQ(subject_->await_success(), "");
  }

  static constexpr size_t kHearts = 13;
  Workplace place_;
  std::string image_ = place_.file("image");
  std::optional<Subject> subject_;
  std::optional<Hearts> hearts_;
  std::map<pid_t, uint64_t> masks_;
  std::map<pid_t, int> seen_;
  bool first_look_ = true;
  unsigned seed_ = 0;
  std::mt19937 random_;
};

Clock::duration duration_of(EngineProcess engine) {
  auto start = Clock::now();
  Outcome outcome = engine.wait();
  EXPECT_TRUE(outcome.done()) << outcome;
  return Clock::now() - start;
}

TEST_F(Crash, OfADumpHarmsNobody) {
  ASSERT_EQ(trouble(), "");
  Clock::duration longest = duration_of(EngineProcess::dump(subject_->pid(), image_, {.leave_running = true}));
  ASSERT_TRUE(remove_tree(image_));
  std::cout << "a dump takes " << longest / 1us << " us\n";
  int killed = 0, done = 0;
  for (int i = 0; i < kDumps; ++i) {
    EngineProcess engine = EngineProcess::dump(subject_->pid(), image_, {.leave_running = true});
    auto instant = up_to(longest);
    std::this_thread::sleep_for(instant);
    engine.kill();
    Outcome outcome = engine.wait();
    ++(outcome.end == Outcome::End::killed ? killed : done);
    ASSERT_TRUE(outcome.done() || outcome.end == Outcome::End::killed) << outcome << "\n" << subject_->ending();
    std::string wrong = lasting_trouble();
    ASSERT_EQ(wrong, "") << subject_->ending() << "\nkilled after " << instant / 1us << " us, dump " << i << "\n"
                         << subject_->output();
    ASSERT_TRUE(all_beat()) << subject_->ending() << "\nkilled after " << instant / 1us << " us, dump " << i << "\n"
                            << subject_->output();
    ASSERT_TRUE(remove_tree(image_));
  }
  std::cout << killed << " killed, " << done << " had ended\n";
  // What the killed ones have left on disk and in the processes is in nobody's way.
  Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  EXPECT_FALSE(std::filesystem::exists(image_ + ".partial"));
  forget_end(subject_->pid());
  outcome = restore_when_free(image_);
  ASSERT_TRUE(outcome.done()) << outcome;
  EXPECT_EQ(lasting_trouble(), "");
  EXPECT_TRUE(all_beat());
  end_well();
}

// Up to the instant at which it lets the processes go one after the other, nothing is left of a killed restore.
TEST_F(Crash, OfARestoreLeavesNothing) {
  ASSERT_EQ(trouble(), "");
  Outcome outcome = EngineProcess::dump(subject_->pid(), image_, {}).wait();
  ASSERT_TRUE(outcome.done()) << outcome;
  reap();
  ASSERT_TRUE(descendants(::getpid()).empty());
  auto restore = [&] {
    return EngineProcess([&]() -> Result<> {
      auto engine = TRY(engine::Engine::open());
      TRY(engine.restore(image_, {.before_thaw = [] { return fail("far enough"); }}));
      return {};
    });
  };
  auto start = Clock::now();
  outcome = restore().wait();
  auto longest = Clock::now() - start;
  ASSERT_EQ(outcome.text, "far enough");
  std::cout << "a restore takes " << longest / 1us << " us\n";
  int killed = 0, done = 0;
  for (int i = 0; i < kRestores; ++i) {
    EngineProcess engine = restore();
    auto instant = up_to(longest);
    std::this_thread::sleep_for(instant);
    engine.kill();
    outcome = engine.wait();
    ++(outcome.end == Outcome::End::killed ? killed : done);
    auto left = descendants(::getpid());
    for (auto limit = Clock::now() + 5s; !left.empty() && Clock::now() < limit; left = descendants(::getpid()))
      reap();
    ASSERT_TRUE(left.empty()) << left.size() << " processes are left, killed after " << instant / 1us << " us";
  }
  std::cout << killed << " killed, " << done << " had ended\n";
  forget_end(subject_->pid());
  outcome = restore_when_free(image_);
  ASSERT_TRUE(outcome.done()) << outcome;
  EXPECT_EQ(lasting_trouble(), "");
  EXPECT_TRUE(all_beat());
  end_well();
}

}  // namespace
}  // namespace ks::test
