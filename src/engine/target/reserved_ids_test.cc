// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/reserved_ids.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/backoff.h"
#include "base/file.h"
#include "base/text.h"

namespace ks::engine {
namespace {

using namespace std::chrono_literals;

constexpr int kMany = 20;

pid_t last_pid() {
  auto text = read_file("/proc/sys/kernel/ns_last_pid");
  return text ? parse_number<pid_t>(trim(*text)).value_or(0) : 0;
}

// Of a process, a thread or a group.
bool is_taken(pid_t id) {
  return ::access(("/proc/" + std::to_string(id)).c_str(), F_OK) == 0 || ::kill(-id, 0) == 0;
}

// Far from where others get theirs: the first of many that nobody has.
pid_t far_away() {
  constexpr pid_t kRange = 100;
  auto text = read_file("/proc/sys/kernel/pid_max");
  pid_t limit = text ? parse_number<pid_t>(trim(*text)).value_or(0) : 0;
  pid_t id = last_pid() > limit / 2 ? last_pid() - limit / 4 : last_pid() + limit / 4;
  for (pid_t i = 0; i < kRange; ++i)
    if (is_taken(id + i)) id += i + 1, i = -1;
  return id;
}

bool counts_from(pid_t id) { return last_pid() >= id - 1 && last_pid() < id + 1000; }

std::vector<pid_t> fork_many() {
  std::vector<pid_t> children;
  for (int i = 0; i < kMany; ++i) {
    pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    children.push_back(child);
  }
  for (pid_t child : children) ::waitpid(child, nullptr, 0);
  return children;
}

TEST(ReservedIds, WhoComesInATurnGetsNoneThatIsAwaited) {
  pid_t id = far_away();
  std::vector<pid_t> awaited{id + 1, id + 2, id + 3, id + 7};
  ReservedIds reserved;
  reserved.spare(awaited);
  ASSERT_TRUE(reserved.reserve(id));
  auto begun = reserved.begin_turn(id);
  auto got = fork_many();
  ASSERT_TRUE(reserved.end_turn());
  ASSERT_TRUE(begun) << begun.error().what;
  // Others of this machine may have been quicker with any of them.
  EXPECT_GT(std::ranges::count_if(got, [&](pid_t one) { return one >= id && one < id + 1000; }), kMany / 2);
  for (pid_t one : awaited) EXPECT_EQ(std::ranges::count(got, one), 0) << one;
  EXPECT_FALSE(counts_from(id));  // and others count on from where they were
  for (pid_t one : awaited) EXPECT_TRUE(reserved.reserve(one)) << one;
}

TEST(ReservedIds, WhatOthersKeepForATurnIsNotTaken) {
  pid_t id = far_away();
  int turn[2];
  ASSERT_EQ(::pipe(turn), 0);
  pid_t other = ::fork();
  if (other == 0) {
    ReservedIds reserved;
    reserved.spare(std::vector{id + 1});
    bool begun = reserved.reserve(id) && reserved.begin_turn(id);
    if (::write(turn[1], "", 1) == 1) ::usleep(200'000);
    ::_exit(begun && reserved.end_turn() ? 0 : 1);
  }
  char byte;
  ASSERT_EQ(::read(turn[0], &byte, 1), 1);
  ReservedIds mine;
  EXPECT_TRUE(mine.reserve(id + 1));
  int status = 0;
  ASSERT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
  auto taken = mine.reserve(::getpid());
  EXPECT_TRUE(!taken && taken.error().code == EEXIST);
}

// What one has read before another's turn, it would write after it.
TEST(ReservedIds, TurnsComeOneAfterTheOther) {
  pid_t id = far_away();
  std::vector<pid_t> all(4 * kMany), takers;
  std::iota(all.begin(), all.end(), id);
  for (int taker = 0; taker < 4; ++taker) {
    pid_t child = ::fork();
    if (child == 0) {
      ReservedIds reserved;
      reserved.spare(all);
      int turns = 0;
      for (int i = 0; i < kMany; ++i) {
        pid_t mine = id + taker * kMany + i;
        auto kept = reserved.reserve(mine);
        // Others of this machine that have come in a turn may have it.
        if (!kept && kept.error().code == EEXIST) continue;
        if (!kept || !reserved.begin_turn(mine) || !reserved.end_turn()) ::_exit(1);
        ++turns;
      }
      ::_exit(turns > kMany / 2 ? 0 : 2);
    }
    takers.push_back(child);
  }
  for (pid_t taker : takers) {
    int status = 0;
    ASSERT_EQ(::waitpid(taker, &status, 0), taker);
    EXPECT_EQ(status, 0);
  }
  EXPECT_FALSE(counts_from(id));
}

TEST(ReservedIds, WhoDiesInHisTurnLeavesTheNumberToTheNextOne) {
  pid_t id = far_away();
  int status = 0;
  pid_t child = ::fork();
  if (child == 0) {
    ReservedIds reserved;
    if (reserved.reserve(id) && reserved.begin_turn(id)) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(Turn::await());
  EXPECT_FALSE(counts_from(id));
  // Another engine may have its turn just now.
  for (Backoff backoff(Backoff::Clock::now() + 5s); ::access("/run/kernel-swap.turn", F_OK) == 0;)
    ASSERT_TRUE(backoff.pause()) << "it is left there";
}

}  // namespace
}  // namespace ks::engine
