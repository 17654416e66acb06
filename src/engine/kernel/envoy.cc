// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/envoy.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"

namespace ks::engine {

namespace {

// Not to the end of the pipe: a child that it has made and keeps may have that as well.
Result<std::string> read_to_zero(int fd) {
  std::string text;
  char bytes[4096];
  for (;;) {
    ssize_t got = ::read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("pipe");
    text.append(bytes, static_cast<size_t>(got));
    if (got == 0) return "";  // it has died
    if (text.ends_with('\0')) return text.substr(0, text.size() - 1);
  }
}

}  // namespace

Result<Envoy> Envoy::send(const std::function<Result<std::string>()>& work) {
  int fds[4];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  Fd reader(fds[0]), writer(fds[1]);
  if (::pipe2(fds + 2, O_CLOEXEC)) return fail_errno("pipe");
  Fd leash(fds[2]);
  Envoy envoy;
  envoy.leash_ = Fd(fds[3]);
  envoy.pid_ = ::fork();
  if (envoy.pid_ < 0) return fail_errno("fork");
  if (envoy.pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    reader = Fd();
    envoy.leash_ = Fd();
    auto said = work();
    // Nobody reads any more: its parent had died before it could ask to be told of that.
    if (!write_all(writer.get(), (said ? "+" + *said : "-" + said.error().what) + '\0', "pipe")) ::_exit(1);
    writer = Fd();
    // A change of credentials takes the death signal away.
    char byte;
    while (::read(leash.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }
  writer = Fd();
  envoy.said_ = TRY(read_to_zero(reader.get()));
  if (!envoy.said_.starts_with('+')) return fail(envoy.said_.empty() ? "a child has died" : envoy.said_.substr(1));
  envoy.said_.erase(0, 1);
  return envoy;
}

Envoy::~Envoy() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace ks::engine
