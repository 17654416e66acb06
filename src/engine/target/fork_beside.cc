// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/fork_beside.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

namespace ks::engine {

namespace {

constexpr int kMostForks = 100;

}  // namespace

Result<pid_t> fork_beside(const std::set<pid_t>& taken, const std::function<void()>& body) {
  std::vector<pid_t> wrong;
  pid_t right = 0;
  for (int forks = 0; right == 0 && forks < kMostForks; ++forks) {
    pid_t child = ::fork();
    if (child < 0) break;
    if (child == 0) {
      body();
      ::_exit(1);
    }
    if (taken.contains(child))
      wrong.push_back(child);  // kept until we have another, lest we get the same again
    else
      right = child;
  }
  for (pid_t child : wrong) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  if (right == 0) return fail("no process can be forked");
  return right;
}

}  // namespace ks::engine
