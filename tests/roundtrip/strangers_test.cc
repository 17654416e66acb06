// SPDX-License-Identifier: LGPL-2.1-or-later
// Programs that nobody here wrote, in the midst of their work, are dumped and restored again and again, and come to
// the answer to which they come undisturbed.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine_process.h"
#include "family.h"
#include "subject.h"

namespace ks::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kCycles = 20;

struct Stranger {
  std::string name;
  std::vector<std::string> tools;
  std::string command;  // of a shell, in an empty directory; $HERE is where the files of these tests are
  std::string prepare = "true";
};

const std::vector<Stranger> kStrangers = {
    {"bash", {"bash", "awk"}, "exec bash $HERE/jobs.sh 200"},
    {"go",
     {"go"},
     "exec ./channels 30000",
     "HOME=. GOCACHE=$PWD/cache GO111MODULE=off go build -o channels $HERE/channels.go"},
    {"java", {"java", "javac"}, "exec java -Xmx64m Pools 1200", "javac -d . $HERE/Pools.java"},
    {"make", {"make", "gcc"}, "rm -f *.[co] program; exec make -s -j4 -f $HERE/build.mk SIZE=24"},
    {"node", {"node"}, "exec node $HERE/promises.js 350"},
    {"perl", {"perl"}, "exec perl $HERE/pipes.pl 40000"},
    {"python", {"python3"}, "exec python3 $HERE/threads.py 1200"},
    {"sqlite", {"sqlite3"}, "exec sh $HERE/transactions.sh 60"},
    {"zstd", {"zstd"}, "exec sh $HERE/stream.sh 1000000"},
};

std::ostream& operator<<(std::ostream& out, const Stranger& stranger) { return out << stranger.name; }

class Strangers : public testing::TestWithParam<Stranger> {
 protected:
  static void SetUpTestSuite() { become_reaper(); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
    for (const auto& tool : GetParam().tools)
      if (::access(("/usr/bin/" + tool).c_str(), X_OK)) GTEST_SKIP() << tool << " is not installed";
    ASSERT_EQ(start(GetParam().prepare).await_success(), "");
  }

  Subject start(const std::string& command) {
    return Subject(place_, "/bin/sh", {"-c", "HERE=" TEST_STRANGERS "; " + command});
  }

  // False if it has come to its end before it could be dumped.
  bool cycle(Subject& subject, Clock::duration pause) {
    std::this_thread::sleep_for(pause);
    Outcome outcome = EngineProcess::dump(subject.pid(), image_, {}).wait();
    for (int i = 0; i < 20 && outcome.text.find("try again") != std::string::npos; ++i)
      outcome = EngineProcess::dump(subject.pid(), image_, {}).wait();
    if (!outcome.done() && has_ended(subject)) return false;
    EXPECT_TRUE(outcome.done()) << outcome << "\n" << subject.output();
    if (!outcome.done()) return true;
    forget_end(subject.pid());
    outcome = restore_when_free(image_);
    EXPECT_TRUE(outcome.done()) << outcome;
    EXPECT_TRUE(remove_tree(image_));
    return true;
  }
  // Until then it is a copy of this very program.
  static void await_shell(const Subject& subject) {
    auto own = read_link("/proc/self/exe").value();
    while (read_link(fmt::format("/proc/{}/exe", subject.pid())).value_or("") == own)
      std::this_thread::sleep_for(1ms);
  }
  static bool has_ended(const Subject& subject) {
    reap();
    return !std::filesystem::exists(fmt::format("/proc/{}", subject.pid()));
  }

  Workplace place_;
  std::string image_ = place_.file("image");
};

TEST_P(Strangers, ComeToTheSameAnswer) {
  auto begun = Clock::now();
  std::string answer;
  {
    Subject undisturbed = start(GetParam().command);
    ASSERT_EQ(undisturbed.await_success(), "");
    answer = undisturbed.output();
    ASSERT_NE(answer, "");
  }
  auto length = Clock::now() - begun;
  std::cout << "undisturbed: " << length / 1ms << " ms, " << trim(answer) << std::endl;

  // What is left of the cycles when it comes to its end, another one of it goes through.
  for (int cycles = 0; cycles < kCycles;) {
    Subject disturbed = start(GetParam().command);
    await_shell(disturbed);
    while (cycles < kCycles && cycle(disturbed, length / (2 * kCycles))) {
      ASSERT_FALSE(HasFailure()) << "cycle " << cycles;
      ++cycles;
    }
    ASSERT_EQ(disturbed.await_success(), "") << "after " << cycles << " cycles";
    ASSERT_EQ(disturbed.output(), answer) << "after " << cycles << " cycles";
    std::cout << cycles << " cycles\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Programs, Strangers, testing::ValuesIn(kStrangers),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ks::test
