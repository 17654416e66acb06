// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/repair.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "base/fd.h"
#include "base/file.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/target/undisturbed.h"

namespace ks::engine::inet_socket {

namespace {

using Connections = std::span<const RunningConnection>;

Result<std::vector<Progress>> progress_of(Connections connections) {
  auto insides = look_into_sockets();
  std::vector<Progress> all;
  all.reserve(connections.size());
  for (const auto& connection : connections)
    all.push_back(TRY(inet_socket::progress_of(connection.fd, insides ? &*insides : nullptr)));
  return all;
}

// Whether nothing has moved meanwhile.
Result<bool> read_once(Connections connections, image::ConnectionReadings& out) {
  out.clear_readings();
  auto before = TRY(progress_of(connections));
  for (size_t i = 0; i < connections.size(); ++i) {
    auto read = read_connection(connections[i].fd, before[i]);
    auto* reading = out.add_readings();
    if (!read && read.error().code == EAGAIN) return false;
    if (!read && read.error().refusal)
      reading->set_obstacle(read.error().what);
    else
      reading->set_connection(TRY(std::move(read)).SerializeAsString());
  }
  return TRY(progress_of(connections)) == before;
}

Result<> read_at_rest(Connections connections, image::ConnectionReadings& out) {
  constexpr int kTimes = 20;
  for (const auto& connection : connections) TRY(enter_repair(connection.fd));
  for (int i = 0; i < kTimes && !out.rests(); ++i) out.set_rests(TRY(read_once(connections, out)));
  return {};
}

// Whatever comes of it, they are out of repair then. Can be called again if who did it was killed.
bool read_all_at_rest(Connections connections, int report) {
  image::ConnectionReadings out;
  auto done = read_at_rest(connections, out);
  for (const auto& connection : connections) {
    // Lent while urgent data was looked at; older kernels have no place for it.
    (void)set_number(connection.fd, SOL_SOCKET, SO_PEEK_OFF, -1);
    auto given_back = set_number(connection.fd, SOL_SOCKET, SO_OOBINLINE, connection.in_line);
    auto left = leave_repair(connection.fd, connection.reuse);
    if (done) done = left ? std::move(given_back) : std::move(left);
  }
  if (!done) out.set_error(done.error().what);
  return ::ftruncate(report, 0) == 0 && ::lseek(report, 0, SEEK_SET) == 0 &&
         write_all(report, out.SerializeAsString(), "what was read of connections");
}

}  // namespace

Result<> enter_repair(int fd) { return silence_connection(fd); }

Result<> leave_repair(int fd, bool reuse) {
  TRY(set_number(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP));
  return set_number(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
}

Result<image::ConnectionReadings> read_connections(Connections connections) {
  Fd report(::memfd_create("connections", MFD_CLOEXEC));
  if (!report) return fail_errno("memfd_create");
  if (!TRY(do_undisturbed([&] { return read_all_at_rest(connections, report.get()); })))
    return fail("no memory for what connections hold");
  if (::lseek(report.get(), 0, SEEK_SET)) return fail_errno("lseek");
  image::ConnectionReadings readings;
  if (!readings.ParseFromString(TRY(read_all(report.get(), "what was read of connections"))))
    return fail("what was read of connections cannot be understood");
  if (!readings.error().empty()) return fail(readings.error());
  return readings;
}

}  // namespace ks::engine::inet_socket
