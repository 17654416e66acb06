// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/repair.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "base/file.h"
#include "engine/kernel/socket.h"

namespace ks::engine::inet_socket {

namespace {

// Whether its maker, of which something has been told, is about to end. That it stops for other reasons, changes
// nothing for it.
bool is_ending(pid_t maker) {
  int status;
  while (::waitpid(maker, &status, __WALL | WNOHANG) > 0) {
    if (!WIFSTOPPED(status)) return true;
    int signal = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_EXIT) return true;
    bool stopped_by_job_control = event == PTRACE_EVENT_STOP && signal != SIGTRAP;
    ::ptrace(stopped_by_job_control ? PTRACE_LISTEN : PTRACE_CONT, maker, 0, event ? 0 : signal);
  }
  return false;
}

// As its tracer it stops its maker on its way out, also when it is killed, and before it lets go of the service: that
// must not meet a socket under repair. The end of a tracer sets free what it traces.
[[noreturn]] void stand_guard(int orders, int answers, pid_t maker, std::span<const RepairGuard::Charge> charges) {
  ::setsid();  // what is sent to its maker's group is not meant for it
  std::set<int> kept = {orders, answers};
  for (const auto& charge : charges) kept.insert(charge.fd);
  close_all_but(kept);
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  int told = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  // Where somebody else traces it, the service may be faster.
  (void)::ptrace(PTRACE_SEIZE, maker, 0, PTRACE_O_TRACEEXIT);
  (void)!::write(answers, "", 1);
  for (;;) {
    pollfd polls[] = {{orders, POLLIN, 0}, {told, POLLIN, 0}};
    (void)::poll(polls, 2, -1);
    signalfd_siginfo info;
    while (::read(told, &info, sizeof info) > 0) {
    }
    bool ending = is_ending(maker);
    char byte;
    if (polls[0].revents & POLLIN && ::read(orders, &byte, 1) == 1) ::_exit(0);
    if (ending || polls[0].revents & POLLHUP) break;
  }
  for (const auto& charge : charges) (void)leave_repair(charge.fd, charge.reuse);
  ::_exit(0);
}

}  // namespace

Result<> enter_repair(int fd) { return silence_connection(fd); }

Result<> leave_repair(int fd, bool reuse) {
  TRY(set_number(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
  return set_number(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
}

Result<> RepairGuard::start(std::span<const Charge> charges) {
  int fds[4];
  if (::pipe2(fds, O_CLOEXEC) || ::pipe2(fds + 2, O_CLOEXEC)) return fail_errno("pipe");
  Fd order_reader(fds[0]), order_writer(fds[1]), answer_reader(fds[2]), answer_writer(fds[3]);
  pid_t maker = ::gettid();
  pid_ = ::fork();
  if (pid_ < 0) return fail_errno("fork");
  if (pid_ == 0) stand_guard(order_reader.get(), answer_writer.get(), maker, charges);
  answer_writer = Fd();
  orders_ = std::move(order_writer);
  std::byte ready;
  return read_exactly(answer_reader.get(), std::span(&ready, 1), "the guard of connections");
}

void RepairGuard::dismiss() { (void)!::write(orders_.get(), "", 1); }

RepairGuard::~RepairGuard() {
  if (pid_ <= 0) return;
  orders_ = Fd();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace ks::engine::inet_socket
