// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets between virtual machines and their host: one that listens, one that is bound, a new one with options.
#include <linux/vm_sockets.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "program.h"

static sockaddr_vm name_of(int fd) {
  sockaddr_vm address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return address;
}
static void bind_to_any(int fd) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = VMADDR_PORT_ANY;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address)) skip("nobody to be bound to (vsock)");
}
static uint64_t option(int fd, int name) {
  uint64_t value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, AF_VSOCK, name, &value, &length) == 0);
  return value;
}
static short events_of(int fd) {
  pollfd poll{.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP, .revents = 0};
  CHECK(::poll(&poll, 1, 0) >= 0);
  return poll.revents;
}
static bool listens(int fd) {
  int value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0);
  return value;
}

int main() {
  int fresh = socket(AF_VSOCK, SOCK_STREAM, 0), listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0),
      bound = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (fresh < 0) skip("no sockets of virtual machines (vsock)");
  bind_to_any(listener);
  bind_to_any(bound);
  CHECK(listen(listener, 3) == 0);
  for (auto [name, value] : {std::pair(SO_VM_SOCKETS_BUFFER_MAX_SIZE, uint64_t{500'000}),
                             {SO_VM_SOCKETS_BUFFER_MIN_SIZE, 300},
                             {SO_VM_SOCKETS_BUFFER_SIZE, 400'000}})
    CHECK(setsockopt(fresh, AF_VSOCK, name, &value, sizeof value) == 0);
  std::vector<int> all = {fresh, listener, bound};
  std::vector<sockaddr_vm> names;
  std::vector<short> events;
  for (int fd : all) names.push_back(name_of(fd)), events.push_back(events_of(fd));

  ready();

  for (size_t i = 0; i < all.size(); ++i) {
    sockaddr_vm name = name_of(all[i]);
    CHECK(name.svm_port == names[i].svm_port && name.svm_cid == names[i].svm_cid);
    CHECK(events_of(all[i]) == events[i]);
  }
  CHECK(listens(listener) && !listens(bound) && !listens(fresh));
  CHECK(accept(listener, nullptr, nullptr) == -1 && errno == EAGAIN);
  CHECK(option(fresh, SO_VM_SOCKETS_BUFFER_MAX_SIZE) == 500'000 &&
        option(fresh, SO_VM_SOCKETS_BUFFER_MIN_SIZE) == 300);
  CHECK(option(fresh, SO_VM_SOCKETS_BUFFER_SIZE) == 400'000);
  CHECK(listen(bound, 1) == 0);
}
