// SPDX-License-Identifier: LGPL-2.1-or-later
// Random programs are left running by a dump, unharmed by dumps whose engine is killed, and dumped and restored again
// and again, and find nothing wrong. SEED=N and SEEDS=N in the environment choose the first of them and how many
// there are.
#include <gtest/gtest.h>

#include <iostream>
#include <random>
#include <thread>

#include "base/file.h"
#include "engine_process.h"
#include "family.h"
#include "hearts.h"
#include "subject.h"

namespace ks::test {
namespace {

constexpr unsigned kSeeds = 50, kCycles = 2, kKills = 2;

unsigned from_environment(const char* name, unsigned otherwise) {
  const char* given = ::getenv(name);
  return given ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : otherwise;
}

class RandomProgram : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    become_reaper();
  }

  void dump(const Subject& subject, const std::string& image, bool leave_running) {
    Outcome outcome = EngineProcess::dump(subject.pid(), image, {.leave_running = leave_running}).wait();
    for (int i = 0; i < 20 && outcome.text.find("try again") != std::string::npos; ++i)
      outcome = EngineProcess::dump(subject.pid(), image, {.leave_running = leave_running}).wait();
    ASSERT_TRUE(outcome.done()) << outcome << "\n" << subject.output();
  }

  void live_through(unsigned seed) {
    std::mt19937 random(seed);
    auto pause = [&] { std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000)); };
    Workplace place;
    std::string image = place.file("image");
    Subject subject(place, "random_program", {std::to_string(seed)});
    ASSERT_EQ(subject.await_ready(), "");
    Hearts hearts(place.file("hearts"));
    pause();
    auto begun = std::chrono::steady_clock::now();
    ASSERT_NO_FATAL_FAILURE(dump(subject, image, true));
    auto longest = std::chrono::steady_clock::now() - begun;
    ASSERT_TRUE(hearts.all_beat(subject.pid())) << subject.ending() << "\n" << subject.output();
    ASSERT_TRUE(remove_tree(image));
    subject.expect_interruptions(true);
    for (unsigned kill = 0; kill < kKills; ++kill) {
      EngineProcess engine = EngineProcess::dump(subject.pid(), image, {.leave_running = true});
      std::this_thread::sleep_for(longest * (random() % 1000) / 1000);
      engine.kill();
      (void)engine.wait();
      ASSERT_EQ(await_unseized(subject.pid()), "") << "kill " << kill;
      ASSERT_TRUE(remove_tree(image));
    }
    ASSERT_TRUE(hearts.all_beat(subject.pid())) << "after kills\n" << subject.ending() << "\n" << subject.output();
    // One of two that share a heart may have to wait long for a CPU.
    ASSERT_EQ(await_sleep(subject.pid()), "");
    subject.expect_interruptions(false);
    for (unsigned cycle = 0; cycle < kCycles; ++cycle) {
      pause();
      ASSERT_NO_FATAL_FAILURE(dump(subject, image, false)) << "cycle " << cycle;
      forget_end(subject.pid());
      Outcome outcome = restore_when_free(image);
      ASSERT_TRUE(outcome.done()) << outcome;
      ASSERT_TRUE(remove_tree(image));
    }
    ASSERT_TRUE(hearts.all_beat(subject.pid())) << subject.ending() << "\n" << subject.output();
    subject.tell();
    ASSERT_EQ(subject.await_success(), "");
  }
};

TEST_F(RandomProgram, FindsNothingWrong) {
  unsigned first = from_environment("SEED", std::random_device()() / 2), seeds = from_environment("SEEDS", kSeeds);
  std::cout << seeds << " programs from SEED=" << first << " on" << std::endl;
  for (unsigned seed = first; seed < first + seeds; ++seed) {
    ASSERT_NO_FATAL_FAILURE(live_through(seed)) << "reproduce with SEED=" << seed << " SEEDS=1";
    ASSERT_FALSE(HasFailure()) << "reproduce with SEED=" << seed << " SEEDS=1";
  }
}

}  // namespace
}  // namespace ks::test
