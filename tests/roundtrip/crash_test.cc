// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine is killed at random instants: of a dump, and every task runs on unharmed; of a restore, and nothing is
// left of it. Or one of the processes is, as by the OOM killer, and the dump ends and gives the others back.
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

constexpr int kDumps = 200, kRestores = 60, kKills = 40;

unsigned choose_seed() {
  unsigned seed = std::random_device()();
  if (const char* given = ::getenv("SEED")) seed = static_cast<unsigned>(std::strtoul(given, nullptr, 10));
  std::cout << "SEED=" << seed << "\n";
  return seed;
}

std::chrono::nanoseconds random_instant(Clock::duration longest, std::mt19937& random) {
  return std::chrono::nanoseconds(std::uniform_int_distribution<int64_t>(0, longest / 1ns)(random));
}

class Crash : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
    subject_.emplace(place_, "steady");
    ASSERT_EQ(subject_->await_ready(), "");
    hearts_.emplace(place_.file("hearts"), kHearts);
    ASSERT_TRUE(all_beat());
    seed_ = choose_seed();
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
    auto instant = random_instant(longest, random_);
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
    auto instant = random_instant(longest, random_);
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

using Command = std::vector<std::string>;

class CrashOfTheService : public testing::TestWithParam<Command> {};

TEST_P(CrashOfTheService, EndsTheDump) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  become_reaper();
  std::mt19937 random(choose_seed());
  Clock::duration longest{};
  std::map<Outcome::End, int> ends;
  for (int i = 0; i <= kKills; ++i) {
    Workplace place;
    const Command& command = GetParam();
    Subject subject(place, command.front(), {command.begin() + 1, command.end()});
    std::string trouble = subject.await_ready();
    if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
    ASSERT_EQ(trouble, "");
    std::vector<pid_t> pids = descendants(subject.pid());
    pids.push_back(subject.pid());
    EngineProcess engine = EngineProcess::dump(subject.pid(), place.file("image"), {.leave_running = true});
    if (i == 0) {
      longest = duration_of(std::move(engine));
      continue;
    }
    auto instant = random_instant(longest, random);
    pid_t victim = pids[std::uniform_int_distribution<size_t>(0, pids.size() - 1)(random)];
    std::this_thread::sleep_for(instant);
    ::kill(victim, SIGKILL);
    Outcome outcome = engine.wait();
    auto where = [&] {
      return fmt::format("kill {} of {} after {} us of {}", i, victim, instant / 1us, longest / 1us);
    };
    ASSERT_TRUE(outcome.end != Outcome::End::hung && outcome.end != Outcome::End::killed) << outcome << where();
    ASSERT_EQ(await_unseized(subject.pid()), "") << where();
    ++ends[outcome.end];
  }
  std::cout << ends[Outcome::End::done] << " dumped, " << ends[Outcome::End::failed] << " failed, "
            << ends[Outcome::End::refused] << " refused\n";
}

INSTANTIATE_TEST_SUITE_P(, CrashOfTheService,
                         testing::Values(Command{"steady"}, Command{"tree"}, Command{"memory_sharing", "child"},
                                         Command{"containers", "clone"}, Command{"vfork"},
                                         Command{"orphans", "deep", "20"}),
                         [](const auto& info) { return info.param.front(); });

}  // namespace
}  // namespace ks::test
