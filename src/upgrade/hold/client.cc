// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/client.h"

#include <sys/socket.h>
#include <time.h>

#include "upgrade/hold/message.h"

namespace ks::upgrade {

Result<HoldClient> HoldClient::open(const std::string& path) {
  sockaddr_un address = TRY(socket_address(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address)) return fail_errno(path);
  // The kernel takes its time for tens of thousands of connections.
  timeval patience{.tv_sec = 60, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return HoldClient(std::move(fd));
}

Result<HoldClient> HoldClient::await(const std::string& path) {
  constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 5'000'000};
  constexpr int kPolls = 4000;
  for (int i = 0;; ++i) {
    auto client = open(path);
    bool later = !client && (client.error().code == ENOENT || client.error().code == ECONNREFUSED);
    if (!later || i == kPolls) return client;
    ::nanosleep(&kPoll, nullptr);
  }
}

Result<> HoldClient::hold(const std::string& unit, std::span<const std::string> lines) {
  std::string request = "hold " + unit;
  for (const std::string& line : lines) request += "\n" + line;
  return ask(request);
}

Result<> HoldClient::lift(const std::string& unit) { return ask("lift " + unit); }

Result<> HoldClient::keep() { return ask("keep"); }

Result<> HoldClient::end() { return ask("end"); }

Result<> HoldClient::ask(std::string_view request) {
  TRY(in("keeper of the hold", send_text(fd_.get(), request)));
  std::string answer = TRY(in("keeper of the hold", receive_text(fd_.get())));
  if (!answer.empty()) return fail(answer);
  return {};
}

void lift_if_held(const std::string& unit) {
  if (auto keeper = HoldClient::open()) (void)keeper->lift(unit);
}

void end_hold() {
  if (auto keeper = HoldClient::open()) (void)keeper->end();
}

}  // namespace ks::upgrade
