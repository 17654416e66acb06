// SPDX-License-Identifier: LGPL-2.1-or-later
// Every program goes through every way of being dumped and restored, and finds itself unchanged.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <numeric>
#include <random>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine_process.h"
#include "family.h"
#include "portrait.h"
#include "programs.h"
#include "subject.h"

namespace ks::test {
namespace {

constexpr int kCycles = 20, kFewCycles = 4;
constexpr int kKills = 10, kLeastKills = 4;
constexpr auto kKillsLimit = 3s;  // the largest programs are killed less often

// All of them for half of the programs, chosen anew each time. CYCLES=N in the environment is for all programs.
int choose_cycles() {
  static std::mt19937 random{std::random_device()()};
  if (const char* given = ::getenv("CYCLES")) return parse_number<int>(given).value_or(kCycles);
  int cycles = random() % 2 ? kCycles : kFewCycles;
  std::cout << cycles << " cycles\n";
  return cycles;
}

bool said_try_again(const Outcome& outcome) { return outcome.text.find("try again") != std::string::npos; }

// What SIGSTOP and SIGCONT do to the calls that signal(7) names, an engine does too that is killed between a thread's
// stop and its next act. Programs that count on those calls say so, and end.
bool was_interrupted(const std::string& output) {
  return output.find("(errno: Interrupted system call)") != std::string::npos;
}

// While it makes a thread the C library blocks every signal, also those that no program can block through it.
bool has_beginners(const Portrait& portrait) {
  return std::ranges::any_of(portrait, [](const auto& entry) {
    return entry.second.find("SigBlk:\tfffffffffffbfeff") != std::string::npos;
  });
}

// Threads and children that the program has just made may still be on their way through the C library.
Portrait portrait_at_rest(pid_t pid) {
  Portrait portrait = portray(pid);
  for (int i = 0; i < 200; ++i) {
    std::this_thread::sleep_for(5ms);
    Portrait later = portray(pid);
    if (differences(portrait, later).empty() && !has_beginners(later)) return portrait;
    portrait = std::move(later);
  }
  return portrait;
}

class RoundTrip : public testing::TestWithParam<Program> {
 protected:
  static void SetUpTestSuite() { become_reaper(); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    subject_.emplace(place_, GetParam().name, GetParam().arguments);
    std::string trouble = subject_->await_ready();
    if (trouble.starts_with("skipped: ")) GTEST_SKIP() << trouble;
    ASSERT_EQ(trouble, "");
    if (GetParam().still) before_ = portrait_at_rest(subject_->pid());
  }

  void dump(const DumpPlan& plan) {
    Outcome outcome = EngineProcess::dump(subject_->pid(), image_, plan).wait();
    for (int i = 0; i < 20 && said_try_again(outcome); ++i)
      outcome = EngineProcess::dump(subject_->pid(), image_, plan).wait();
    ASSERT_TRUE(outcome.done()) << outcome << "\n" << subject_->output();
    if (!plan.leave_running) return;
    ASSERT_TRUE(remove_tree(image_));
  }
  void restore() {
    forget_end(subject_->pid());
    Outcome outcome = restore_when_free(image_);
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
  int cycles = choose_cycles();
  for (int cycle = 0; cycle < cycles; ++cycle) {
    ASSERT_NO_FATAL_FAILURE(dump({})) << "cycle " << cycle;
    ASSERT_NO_FATAL_FAILURE(restore()) << "cycle " << cycle;
    std::this_thread::sleep_for(2ms);
  }
  verify();
}

// The engine is killed at instants spread over a whole dump, and nobody is harmed. SEED=N in the environment repeats
// them.
TEST_P(RoundTrip, UnharmedByKilledDumps) {
  if (!GetParam().patient) GTEST_SKIP() << "an engine that is killed may make a wait begin anew";
  unsigned seed = std::random_device()();
  if (const char* given = ::getenv("SEED")) seed = static_cast<unsigned>(std::strtoul(given, nullptr, 10));
  std::mt19937 random(seed);
  auto begun = std::chrono::steady_clock::now();
  ASSERT_NO_FATAL_FAILURE(dump({.leave_running = true}));
  auto longest = std::chrono::steady_clock::now() - begun;
  std::vector<int> parts(kKills);
  std::iota(parts.begin(), parts.end(), 0);
  std::ranges::shuffle(parts, random);
  auto enough = std::chrono::steady_clock::now() + kKillsLimit;
  for (int i = 0; i < kKills && (i < kLeastKills || std::chrono::steady_clock::now() < enough); ++i) {
    auto instant = (longest * parts[static_cast<size_t>(i)] + longest * (random() % 1000) / 1000) / kKills;
    EngineProcess engine = EngineProcess::dump(subject_->pid(), image_, {.leave_running = true});
    std::this_thread::sleep_for(instant);
    engine.kill();
    Outcome outcome = engine.wait();
    auto where = [&] {
      return fmt::format("SEED={}, kill {} after {} us of {}\n", seed, i, instant / 1us, longest / 1us) +
             subject_->ending() + "\n" + subject_->output();
    };
    ASSERT_TRUE(outcome.done() || outcome.end == Outcome::End::killed || said_try_again(outcome))
        << outcome << where();
    ASSERT_EQ(await_unseized(subject_->pid()), "") << where();
    if (auto ending = subject_->ending(); ending != "runs") {
      ASSERT_TRUE(was_interrupted(subject_->output())) << where();
      std::cout << "interrupted as by SIGSTOP and SIGCONT, at kill " << i << "\n";
      return;
    }
    ASSERT_TRUE(remove_tree(image_));
  }
  SCOPED_TRACE(fmt::format("SEED={}", seed));
  // Nor is what the killed ones have left in the way of another dump.
  ASSERT_NO_FATAL_FAILURE(dump({.leave_running = true}));
  if (GetParam().still) {
    std::string changes = differences(before_, portray(subject_->pid()));
    EXPECT_TRUE(changes.empty()) << changes;
  }
  subject_->tell();
  std::string trouble = subject_->await_success();
  if (!was_interrupted(trouble)) {
    EXPECT_EQ(trouble, "");
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, RoundTrip, testing::ValuesIn(all_programs()),
                         [](const auto& info) { return info.param.label(); });

}  // namespace
}  // namespace ks::test
