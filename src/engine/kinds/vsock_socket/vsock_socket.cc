// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets between virtual machines and their host (vsock(7)) that have no peer: a connection ends with the kernel.
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>

#include "engine/context/passed_sockets.h"
#include "engine/context/socket_state.h"
#include "engine/kinds/kind.h"
#include "engine/vsock_socket.pb.h"

namespace ks::engine {

namespace {

using Socket = image::VsockSocket;

constexpr std::string_view kName = "vsock-socket";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) {
  return file.socket && file.socket->family == AF_VSOCK &&
         (file.socket->type == SOCK_STREAM || file.socket->type == SOCK_SEQPACKET);
}

// Whether it listens.
Result<bool> check_use(int mine) {
  constexpr short kEnds = POLLHUP | POLLRDHUP;
  sockaddr_vm peer{};
  socklen_t length = sizeof peer;
  pollfd poll{.fd = mine, .events = POLLIN | POLLOUT | POLLRDHUP, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  if (TRY(read_number(mine, SOL_SOCKET, SO_ACCEPTCONN))) {
    if (poll.revents & POLLIN)
      return refuse_for_now("has connections that nobody has accepted yet, which is not supported yet");
    return true;
  }
  bool connected = ::getpeername(mine, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
  // What has no peer can be written to, and fails; what is about to have one cannot.
  if (connected || poll.revents & kEnds || !(poll.revents & POLLOUT))
    return refuse("is a connection to another machine on this host (vsock), which is not supported");
  return false;
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  Fd mine = TRY(file.fetch());
  Socket out;
  out.set_id(file.id);
  out.set_passed(TRY(is_passed(dumping.outside, dumping.options, file)));
  out.set_state(TRY(read_socket_state(dumping.fresh_sockets, file, mine.get())).SerializeAsString());
  out.set_listens(TRY(check_use(mine.get())));
  sockaddr_vm address{};
  socklen_t length = sizeof address;
  if (::getsockname(mine.get(), reinterpret_cast<sockaddr*>(&address), &length)) return fail_errno("getsockname");
  if (address.svm_port != VMADDR_PORT_ANY) out.set_address(&address, length);
  if (out.passed() && out.address().empty()) return refuse("is held by the service manager too, and has no address");
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fd> make_one(Restoring& restoring, const Socket& socket) {
  constexpr int kLongest = 4096;  // how many may wait, nobody tells; SOMAXCONN
  image::SocketState state;
  if (!state.ParseFromString(socket.state())) return fail("the image's record of a socket cannot be read");
  if (socket.passed()) return restoring.passed_sockets.take(state, socket.address());
  Fd fd = TRY(make_socket(type_of(state)));
  TRY(apply_socket_state(fd.get(), state));
  const std::string& address = socket.address();
  if (!address.empty() &&
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())))
    return fail_errno("bind");
  if (socket.listens() && ::listen(fd.get(), kLongest)) return fail_errno("listen");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kVsockSocket;
const Kind kVsockSocket{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
