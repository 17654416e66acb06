// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/placeholder_control.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <string>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/machine.h"

namespace ks::upgrade {

bool listens(std::string_view status) {
  constexpr uint64_t kListening = uint64_t{1} << (SIGSTKFLT - 1);
  for (std::string_view line : split(status, '\n')) {
    auto words = split_words(line);
    if (words.size() == 2 && words[0] == "SigBlk:")
      return (parse_number<uint64_t>(words[1], 16).value_or(0) & kListening) != 0;
  }
  return false;
}

Result<pid_t> find_placeholder() {
  for (pid_t pid : TRY(cgroup_processes(TRY(own_control_group()))))
    if (pid != ::getpid() && start_of(pid)) return pid;
  return fail("no placeholder runs");
}

Result<> tell_placeholder(pid_t placeholder, Word word) {
  std::string who = "pid " + std::to_string(placeholder) + " (the placeholder)";
  std::string path = "/proc/" + std::to_string(placeholder) + "/status";
  constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 2'000'000};
  for (int polls = 0; polls < 2500; ++polls) {
    if (listens(TRY(in(who, read_file(path))))) {
      if (::kill(placeholder, word == Word::become ? SIGUSR1 : SIGUSR2)) return fail_errno(who);
      return {};
    }
    ::nanosleep(&kPoll, nullptr);
  }
  return fail(who + ": does not listen");
}

}  // namespace ks::upgrade
