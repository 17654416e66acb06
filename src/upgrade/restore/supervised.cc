// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/supervised.h"

#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <string>

#include "base/fd.h"
#include "base/file.h"

namespace ks::upgrade {

namespace {

// The child's messages, a datagram each: the first byte is the kind, the rest a text.
constexpr char kReady = 'r', kDone = 'd', kError = 'e';
constexpr char kGoOn = 'g', kStop = 's';
constexpr size_t kLongest = 4096;

[[noreturn]] void child(const Supervised& job, int channel, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(EXIT_FAILURE);  // it died before that
  auto commit = [&]() -> Result<> {
    char answer = kStop;
    if (::send(channel, &kReady, 1, MSG_NOSIGNAL) != 1 || ::recv(channel, &answer, 1, 0) != 1)
      return fail_errno("the supervisor");
    if (answer != kGoOn) return fail("the image could not be marked as used");
    return {};
  };
  auto done = job.work(commit);
  std::string message = done ? kDone + *done : kError + done.error().what;
  message.resize(std::min(message.size(), kLongest));
  (void)::send(channel, message.data(), message.size(), MSG_NOSIGNAL);
  ::_exit(done ? EXIT_SUCCESS : EXIT_FAILURE);
}

int64_t now_milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Until the child says that it is done. Its end closes the channel.
Result<std::string> converse(const Supervised& job, int channel) {
  const int64_t deadline = now_milliseconds() + static_cast<int64_t>(job.limit_seconds) * 1000;
  for (;;) {
    pollfd ready{.fd = channel, .events = POLLIN, .revents = 0};
    int64_t left = std::max<int64_t>(deadline - now_milliseconds(), 0);
    int r = ::poll(&ready, 1, static_cast<int>(std::min<int64_t>(left, INT_MAX)));
    if (r < 0 && errno == EINTR) continue;
    if (r < 0) return fail_errno("poll");
    if (r == 0) return fail(fmt::format("took longer than {} s", job.limit_seconds));
    char message[kLongest];
    ssize_t length = ::recv(channel, message, sizeof message, 0);
    if (length <= 0) return fail("the engine died");
    std::string_view text(message + 1, static_cast<size_t>(length) - 1);
    if (message[0] == kDone) return std::string(text);
    if (message[0] == kError) return fail(std::string(text));
    auto committed = job.commit();
    char answer = committed ? kGoOn : kStop;
    (void)::send(channel, &answer, 1, MSG_NOSIGNAL);
    if (!committed) return std::unexpected(committed.error());
  }
}

}  // namespace

Result<std::string> run_supervised(const Supervised& job) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return fail_errno("socketpair");
  Fd ours(ends[0]), theirs(ends[1]);
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) return fail_errno("fork");
  if (pid == 0) {
    ours = Fd();
    child(job, theirs.get(), parent);
  }
  theirs = Fd();
  auto result = converse(job, ours.get());
  if (!result) ::kill(pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (result && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) return fail("the engine died");
  if (!result && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
    return fail(result.error().what + " (" + strsignal(WTERMSIG(status)) + ")");
  return result;
}

}  // namespace ks::upgrade
