// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

namespace ks::upgrade {

namespace {

constexpr size_t kLongest = 65536;

class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

}  // namespace

Result<ProgramEnd> run_program(const std::vector<std::string>& arguments) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC)) return fail_errno("pipe");
  Fd from(ends[0]), to(ends[1]);
  FileActions actions;
  posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(actions.get(), to.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(actions.get(), to.get(), STDERR_FILENO);
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  pid_t pid = 0;
  if (int error = ::posix_spawnp(&pid, words[0], actions.get(), nullptr, words.data(), environ))
    return fail_errno(arguments.front(), error);
  to = Fd();
  ProgramEnd end;
  auto output = read_all(from.get(), arguments.front());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno(arguments.front());
  end.output = TRY(std::move(output)).substr(0, kLongest);
  end.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return end;
}

}  // namespace ks::upgrade
