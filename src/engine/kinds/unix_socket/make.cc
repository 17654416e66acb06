// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <map>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/open_file.h"
#include "engine/context/socket_state.h"
#include "engine/credentials.pb.h"
#include "engine/kinds/unix_socket/ended.h"
#include "engine/kinds/unix_socket/places.h"
#include "engine/kinds/unix_socket/records.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

namespace {

using Socket = image::UnixSocket;
using Two = std::array<int, 2>;

// Makes system calls as a process whose credentials its sockets show to others (SO_PEERCRED).
class Maker {
 public:
  Maker(RestoredProcess& process, const Socket::Credentials& as) : process_(process), as_(as) {}

  Result<> act(const std::function<Result<>(RemoteCalls&)>& work) {
    RemoteCalls& calls = process_.leader();
    // In a user namespace it has its IDs already.
    if (process_.user_namespace) return work(calls);
    TRY(set_groups(calls));
    TRY(in("setresgid", calls(SYS_setresgid, -1, as_.group(), -1)));
    TRY(in("setresuid", calls(SYS_setresuid, -1, as_.user(), -1)));
    TRY(work(calls));
    TRY(in("setresuid", calls(SYS_setresuid, -1, 0, -1)));
    TRY(in("setresgid", calls(SYS_setresgid, -1, 0, -1)));
    return {};
  }
  // A descriptor of the process as one of ours, and no longer its own.
  Result<Fd> take(RemoteCalls& calls, int fd) {
    Fd mine = TRY(fetch_descriptor(process_.pid, fd));
    TRY(in("close", calls(SYS_close, fd)));
    return mine;
  }
  RestoredProcess& process() { return process_; }

 private:
  // They are set once more with all its credentials.
  Result<> set_groups(RemoteCalls& calls) {
    auto credentials = TRY(process_.read<image::Credentials>("credentials", 1));
    if (credentials.threads().empty()) return fail("credentials: of no thread");
    std::vector<gid_t> groups(credentials.threads(0).groups().begin(), credentials.threads(0).groups().end());
    TRY(process_.memory->write(process_.scratch, std::as_bytes(std::span(groups))));
    TRY(in("setgroups", calls(SYS_setgroups, groups.size(), process_.scratch)));
    return {};
  }

  RestoredProcess& process_;
  const Socket::Credentials& as_;
};

// What a process that shares our descriptors, and not our memory, has made: a pair of sockets.
class SharedPair {
 public:
  SharedPair()
      : fds_(static_cast<int*>(
            ::mmap(nullptr, sizeof(Two), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {}
  ~SharedPair() { ::munmap(fds_, sizeof(Two)); }
  SharedPair(const SharedPair&) = delete;
  int* fds() const { return fds_; }

 private:
  int* fds_;
};

constexpr char kMostDatagrams[] = "/proc/sys/net/unix/max_dgram_qlen";

// A socket takes as many datagrams from others as that setting was when it was made.
Result<Fd> make_receiver(const SocketType& type, int datagrams) {
  std::string before = TRY(read_file(kMostDatagrams));
  bool enough = parse_number<int>(trim(before)).value_or(0) >= datagrams;
  if (!enough) TRY(write_value(kMostDatagrams, std::to_string(datagrams)));
  auto made = make_socket(type);
  if (!enough) TRY(write_value(kMostDatagrams, before));
  return made;
}

class Sockets {
 public:
  Sockets(Restoring& restoring, Records all) : restoring_(restoring), all_(std::move(all)) {}

  Result<Fds> make() {
    // Connections are made to those that listen, and are named like them.
    for (const auto& [id, record] : all_)
      if (!is_half(all_, record) && !record.socket.waits()) TRY(in(record.label(), make_alone(record)));
    for (const auto& [id, record] : all_)
      if (is_half(all_, record) && !made_[id]) TRY(in(record.label(), make_half(record)));
    // Nobody accepts these.
    for (const auto& [id, record] : all_)
      for (uint32_t client : record.socket.waiting()) TRY(in(record.label(), make_waiting(client, record)));
    return std::move(made_);
  }

 private:
  Result<Maker> maker_of(const Record& record) {
    return Maker(*TRY(restoring_.process(record.socket.credentials().pid())), record.socket.credentials());
  }

  Result<> make_alone(const Record& record) {
    const Socket& socket = record.socket;
    Fd& made = made_[socket.id()];
    if (socket.passed()) return take_passed(record, made);
    if (!socket.has_credentials()) {
      made = TRY(record.has_datagrams() ? make_receiver(type_of(record.state), socket.queue_size())
                                        : make_socket(type_of(record.state)));
      return bind(record);
    }
    if (socket.credentials().ended()) {
      made = TRY(make_socket(type_of(record.state)));
      TRY(bind(record));
      return as_ended(socket.credentials(), [&] { return ::listen(made.get(), socket.backlog()) == 0; });
    }
    Maker maker = TRY(maker_of(record));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      auto there = TRY(in("socket", calls(SYS_socket, AF_UNIX, record.state.type() | SOCK_CLOEXEC, 0)));
      made = TRY(fetch_descriptor(maker.process().pid, static_cast<int>(there)));
      TRY(bind(record));
      if (socket.listens()) TRY(in("listen", calls(SYS_listen, there, socket.backlog())));
      TRY(in("close", calls(SYS_close, there)));
      return {};
    });
  }

  // Who called listen(2) last is whose credentials it tells of. Where that was whoever hands it to us, it has been
  // called.
  Result<> take_passed(const Record& record, Fd& made) {
    const Socket& socket = record.socket;
    made = TRY(restoring_.passed_sockets.take(record.state, socket.name()));
    if (socket.has_file())
      TRY(in_directory(restoring_.root.get(), socket.file().directory(), [&]() -> Result<> {
        restoring_.doors.emplace(socket.id(), TRY(open_file(file_name(socket.name()), O_PATH | O_NOFOLLOW)));
        return {};
      }));
    if (!socket.has_credentials()) return {};
    if (socket.credentials().ended())
      return as_ended(socket.credentials(), [&] { return ::listen(made.get(), socket.backlog()) == 0; });
    Maker maker = TRY(maker_of(record));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      TRY(in("listen", calls(SYS_listen, made.get(), socket.backlog())));  // inherited
      return {};
    });
  }

  Result<> bind(const Record& record) {
    const Socket& socket = record.socket;
    if (socket.name().empty()) return {};
    int fd = made_.at(socket.id()).get();
    Fd door = TRY(socket.has_file() ? bind_to_file(restoring_.root.get(), fd, type_of(record.state), socket)
                                    : bind_to_name(fd, socket.name()));
    if (door) restoring_.doors.emplace(socket.id(), std::move(door));
    return {};
  }

  Result<> make_half(const Record& record) {
    const Socket& socket = record.socket;
    Fd& made = made_[socket.id()];
    if (socket.peer_is_gone()) {
      Fd& peer = restoring_.far_ends[socket.id()];
      TRY(socket.accepted() ? connect(peer, record) : make_pair(record, made, peer));
      if (!socket.accepted()) TRY(bind(record));
      return name_gone(peer.get(), socket.gone_peer_name());
    }
    auto found = all_.find(socket.peer());
    if (found == all_.end()) return fail("its peer is missing in the image");
    const Record& peer = found->second;
    Fd& other = made_[socket.peer()];
    TRY(socket.accepted()        ? connect(other, record)
        : peer.socket.accepted() ? connect(made, peer)
                                 : make_pair(record, made, other));
    for (const Record* one : {&record, &peer})
      if (!one->socket.accepted()) TRY(bind(*one));
    return {};
  }

  // Its peer shows it. An abstract name that somebody has taken meanwhile cannot be shown too.
  static Result<> name_gone(int fd, const std::string& name) {
    if (name.empty()) return {};
    auto bound = bind_to_name(fd, name);
    if (!bound && bound.error().code != EADDRINUSE) return std::unexpected(bound.error());
    return {};
  }

  static Result<> make_pair_as_ended(const Record& record, Fd& one, Fd& other) {
    SharedPair pair;
    if (pair.fds() == MAP_FAILED) return fail_errno("mmap");
    TRY(as_ended(record.socket.credentials(),
                 [&] { return ::socketpair(AF_UNIX, record.state.type() | SOCK_CLOEXEC, 0, pair.fds()) == 0; }));
    one = Fd(pair.fds()[0]);
    other = Fd(pair.fds()[1]);
    return {};
  }

  Result<> make_pair(const Record& record, Fd& one, Fd& other) {
    if (!record.socket.has_credentials()) return fail("has no credentials of who has made it");
    if (record.socket.credentials().ended()) return make_pair_as_ended(record, one, other);
    Maker maker = TRY(maker_of(record));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      RestoredProcess& process = maker.process();
      TRY(in("socketpair", calls(SYS_socketpair, AF_UNIX, record.state.type() | SOCK_CLOEXEC, 0, process.scratch)));
      auto fds = TRY(process.memory->read<Two>(process.scratch));
      one = TRY(maker.take(calls, fds[0]));
      other = TRY(maker.take(calls, fds[1]));
      return {};
    });
  }

  // As a client of the one that listens under the name.
  Result<> connect(Fd& client, const Record& accepted) {
    auto listener = std::ranges::find_if(all_, [&](const auto& entry) {
      return entry.second.socket.listens() && entry.second.socket.name() == accepted.socket.name();
    });
    if (listener == all_.end()) return fail("nobody listens under its name any more");
    TRY(accepted.socket.credentials().ended() ? connect_as_ended(client, accepted, listener->first)
                                              : connect_remotely(client, accepted, accepted.socket.name()));
    pid_t pid = accepted.socket.credentials().pid() ? accepted.socket.credentials().pid() : ::getpid();
    made_[accepted.socket.id()] = TRY(accept_from(pid, made_.at(listener->first).get()));
    return {};
  }

  // Somebody outside may have been faster. He finds his connection closed, and not another's.
  static Result<Fd> accept_from(pid_t pid, int listener) {
    for (;;) {
      Fd accepted(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      if (!accepted) return fail_errno("accept");
      ucred peer{};
      socklen_t length = sizeof peer;
      if (::getsockopt(accepted.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length)) return fail_errno("SO_PEERCRED");
      if (peer.pid == pid) return accepted;
    }
  }

  Result<> connect_as_ended(Fd& client, const Record& accepted, uint32_t listener) {
    client = TRY(make_socket(type_of(accepted.state)));
    auto door = restoring_.doors.find(listener);
    std::string way = door == restoring_.doors.end() ? accepted.socket.name() : way_through(door->second.get());
    return as_ended(accepted.socket.credentials(),
                    [&] { return ::connect(client.get(), as_address(way), size_of(way)) == 0; });
  }

  Result<> make_waiting(uint32_t id, const Record& listener) {
    auto client = all_.find(id);
    if (client == all_.end()) return fail("one that waits for it is missing in the image");
    TRY(connect_remotely(made_[id], client->second, listener.socket.name()));
    return bind(client->second);
  }

  // By who it is that its peer sees.
  Result<> connect_remotely(Fd& client, const Record& seen, const std::string& name) {
    Maker maker = TRY(maker_of(seen));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      RestoredProcess& process = maker.process();
      auto there = TRY(in("socket", calls(SYS_socket, AF_UNIX, seen.state.type() | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
      TRY(process.memory->write(process.scratch, std::as_bytes(std::span(name))));
      TRY(in("connect", calls(SYS_connect, there, process.scratch, name.size())));
      client = TRY(maker.take(calls, static_cast<int>(there)));
      return {};
    });
  }

  Restoring& restoring_;
  Records all_;
  Fds made_;
};

}  // namespace

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return Sockets(restoring, TRY(read_records(envelopes))).make();
}

}  // namespace ks::engine::unix_socket

namespace ks::engine {

extern const Kind kUnixSocket;
const Kind kUnixSocket{.name = unix_socket::kName,
                       .version = unix_socket::kVersion,
                       .owns = unix_socket::owns,
                       .dump = unix_socket::dump,
                       .look_inside = unix_socket::look_inside,
                       .make = unix_socket::make,
                       .connect = unix_socket::connect,
                       .of_processes = true};

}  // namespace ks::engine
