// SPDX-License-Identifier: LGPL-2.1-or-later
#include "subject.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/file.h"
#include "family.h"

namespace ks::test {

namespace {

constexpr auto kReadyLimit = 30s, kEndLimit = 60s;

std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return fmt::format("killed by signal {}", WTERMSIG(status));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

[[noreturn]] void become(const std::filesystem::path& directory, const std::vector<std::string>& command,
                         pid_t inside) {
  ::setsid();
  int output = ::open((directory / "output").c_str(), O_WRONLY | O_APPEND);
  int input = ::open("/dev/null", O_RDONLY);
  // Only then, as systemd does.
  for (const char* space : {"uts", "ipc", "net", "mnt", "user"})
    if (inside && ::setns(::open(fmt::format("/proc/{}/ns/{}", inside, space).c_str(), O_RDONLY), 0)) ::_exit(99);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) ::_exit(99);
  ::syscall(SYS_close_range, 3, ~0u, 0);
  ::umask(022);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  if (::chdir(directory.c_str())) ::_exit(99);
  std::vector<char*> arguments;
  for (const auto& part : command) arguments.push_back(const_cast<char*>(part.c_str()));
  arguments.push_back(nullptr);
  char path[] = "PATH=/usr/bin:/bin", greeting[] = "GREETING=hello";
  std::string allowed = "PATIENCE=" + std::to_string(patience());
  char* environment[] = {path, greeting, allowed.data(), nullptr};
  ::execve(arguments[0], arguments.data(), environment);
  ::_exit(99);
}

}  // namespace

Workplace::Workplace() {
  // What a new kernel does not keep is refused by a dump.
  for (std::string base : {"/var/tmp", TEST_PROGRAMS, "."}) {
    struct statfs system{};
    if (::statfs(base.c_str(), &system) || system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC) continue;
    std::string name = base + "/kernel-swap-test-XXXXXX";
    if (!::mkdtemp(name.data())) continue;
    path_ = std::filesystem::canonical(name);
    return;
  }
}

Workplace::~Workplace() {
  if (!stays_) (void)remove_tree(path_);
}

Subject::Subject(const Workplace& place, const std::string& program, const std::vector<std::string>& arguments,
                 pid_t inside)
    : output_file_(place.file("output")) {
  std::vector<std::string> command = {std::string(TEST_PROGRAMS) + "/" + program};
  if (program.starts_with("/")) command = {program};
  if (program.ends_with(".py")) command = {"/usr/bin/python3", std::string(TEST_SCRIPTS) + "/" + program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  ::close(::open(output_file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  pid_ = ::fork();
  if (pid_ == 0) become(place.path(), command, inside);
  forget_end(pid_);
}

Subject::~Subject() { kill_descendants(); }

std::string Subject::output() const { return read_file(output_file_).value_or("no output"); }

std::string Subject::await_ready() {
  for (auto limit = std::chrono::steady_clock::now() + kReadyLimit * patience();
       std::chrono::steady_clock::now() < limit;) {
    std::string text = output();
    if (text.starts_with("ready\n") || text.find("\nready\n") != std::string::npos) return "";
    if (auto status = await_end(pid_, 0ms))
      return WIFEXITED(*status) && WEXITSTATUS(*status) == 77 ? output() : describe_end(*status) + ": " + output();
    std::this_thread::sleep_for(500us);
  }
  return "does not become ready: " + output();
}

void Subject::tell() { ::chmod(output_file_.c_str(), 0744); }

void Subject::expect_interruptions(bool expected) { ::chmod(output_file_.c_str(), expected ? 0654 : 0644); }

std::string Subject::ending() {
  auto status = await_end(pid_, std::chrono::milliseconds(10));
  return status ? describe_end(*status) : "runs";
}

std::string Subject::await_success() {
  auto status = await_end(pid_, kEndLimit * patience());
  if (!status) return "does not end: " + output();
  return *status == 0 ? std::string() : describe_end(*status) + ": " + output();
}

}  // namespace ks::test
