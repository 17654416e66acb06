// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "base/file.h"
#include "engine/context/open_file.h"
#include "engine/context/socket_state.h"
#include "engine/credentials.pb.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

namespace {

using Socket = image::UnixSocket;
using Two = std::array<int, 2>;

struct Work {
  Socket socket;
  image::SocketState state;
  Fd fd;
};

const sockaddr* as_address(const std::string& name) { return reinterpret_cast<const sockaddr*>(name.data()); }
socklen_t size_of(const std::string& name) { return static_cast<socklen_t>(name.size()); }

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

// As a user of whom no process is there any more. Only this thread changes its user, and it keeps its privileges.
Result<> as_user(const Socket::Credentials& user, const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) || ::syscall(SYS_setgroups, 0, nullptr) ||
        ::syscall(SYS_setresgid, -1, user.group(), -1) || ::syscall(SYS_setresuid, -1, user.user(), -1))
      done = fail_errno(fmt::format("user {}", user.user()));
    else
      done = work();
  }).join();
  return done;
}

// With `root` as its root directory, and its own working directory.
Result<> in_directory(int root, const std::string& directory, const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    if (::unshare(CLONE_FS) || ::fchdir(root) || ::chroot(".") || ::chdir(directory.c_str()))
      done = fail_errno(directory);
    else
      done = work();
  }).join();
  return done;
}

// In a file system of its own, which ends with the socket.
Result<> in_nowhere(const std::function<Result<>()>& work) {
  Result<> done;
  std::thread([&] {
    if (::unshare(CLONE_FS | CLONE_NEWNS) || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) ||
        ::mount("none", "/tmp", "tmpfs", 0, nullptr) || ::chdir("/tmp") || ::chroot("."))
      done = fail_errno("a file system for names that are gone");
    else
      done = work();
  }).join();
  return done;
}

std::string file_name(std::string_view name) {
  std::string path(path_of(name));
  path.resize(::strnlen(path.data(), path.size()));
  return path;
}

// What an earlier socket has left there, nobody listens at any more.
Result<> clear_the_way(const std::string& path, const SocketType& type, const std::string& name) {
  struct stat stat{};
  if (::lstat(path.c_str(), &stat)) return {};
  if (!S_ISSOCK(stat.st_mode)) return fail("there is something else by now");
  Fd asks = TRY(make_socket({AF_UNIX, type.type | SOCK_NONBLOCK, 0}));
  if (::connect(asks.get(), as_address(name), size_of(name)) == 0 || errno != ECONNREFUSED)
    return fail("is somebody else's by now");
  if (::unlink(path.c_str())) return fail_errno("unlink");
  return {};
}

// What is done where the name leads to the socket.
using There = std::function<Result<>()>;

Result<> bind_to_file(int root, const Work& work, const There& then) {
  std::string path = file_name(work.socket.name());
  const auto& file = work.socket.file();
  return in_directory(root, file.directory(), [&]() -> Result<> {
    TRY(clear_the_way(path, type_of(work.state), work.socket.name()));
    if (::bind(work.fd.get(), as_address(work.socket.name()), size_of(work.socket.name()))) return fail_errno("bind");
    if (::lchown(path.c_str(), file.user(), file.group()) || ::chmod(path.c_str(), file.mode()))
      return fail_errno("chmod");
    return then();
  });
}

// A file's name leads to nothing afterwards.
Result<> bind_to_name(int fd, const std::string& name, const There& then) {
  auto bind = [&]() -> Result<> {
    if (::bind(fd, as_address(name), size_of(name))) return fail_errno("bind");
    return then();
  };
  if (is_abstract(name)) return bind();
  return in_nowhere([&]() -> Result<> {
    std::error_code error;
    auto above = std::filesystem::path(file_name(name)).parent_path();
    if (!above.empty()) std::filesystem::create_directories(above, error);
    if (error) return fail(error.message());
    return bind();
  });
}

class Sockets {
 public:
  explicit Sockets(Restoring& restoring) : restoring_(restoring) {}

  Result<> add(const Envelope& envelope) {
    Work work;
    TRY(parse_body(envelope, work.socket));
    if (!work.state.ParseFromString(work.socket.state())) return fail("a record of a socket cannot be read");
    uint32_t id = work.socket.id();
    all_.emplace(id, std::move(work));
    return {};
  }

  Result<Fds> make() {
    // Connections are made to those that listen, and are named like them.
    for (auto& [id, work] : all_)
      if (!is_half(work)) TRY(in(label(work), make_alone(work)));
    for (auto& [id, work] : all_)
      if (is_half(work) && !work.fd) TRY(in(label(work), make_half(work)));
    for (auto& [id, work] : all_)
      if (!work.socket.peer_name().empty()) connect_outside(work);
    for (auto& [id, work] : all_) TRY(in(label(work), send_queue(work)));
    gone_peers_.clear();  // now they are
    Fds made;
    for (auto& [id, work] : all_) {
      TRY(in(label(work), apply_socket_state(work.fd.get(), work.state)));
      TRY(in(label(work), shut_down(work)));
    }
    for (auto& [id, work] : all_) made.emplace(id, std::move(work.fd));
    return made;
  }

 private:
  static std::string label(const Work& work) {
    return fmt::format("UNIX socket {} ({})", work.socket.id(), address_text(work.socket.name()));
  }
  static bool of_datagrams(const Work& work) { return work.state.type() == SOCK_DGRAM; }

  // One of two that were made together, or that accept(2) has made: they lead to each other.
  bool is_half(const Work& work) const {
    if (!work.socket.connected() || !work.socket.peer_name().empty()) return false;
    if (work.socket.peer_is_gone()) return true;
    if (!of_datagrams(work)) return true;
    auto peer = all_.find(work.socket.peer());
    bool mutual = peer != all_.end() && peer->second.socket.connected() &&
                  peer->second.socket.peer() == work.socket.id() && peer->second.socket.peer_name().empty();
    return mutual && work.socket.name().empty() && peer->second.socket.name().empty();
  }

  Result<Maker> maker_of(const Work& work) {
    return Maker(*TRY(restoring_.process(work.socket.credentials().pid())), work.socket.credentials());
  }

  Result<> make_alone(Work& work) {
    const Socket& socket = work.socket;
    if (socket.passed()) return take_passed(work);
    if (!socket.has_credentials()) {
      if (!work.fd) work.fd = TRY(make_socket(type_of(work.state)));
      return bind(work);
    }
    Maker maker = TRY(maker_of(work));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      auto there = TRY(in("socket", calls(SYS_socket, AF_UNIX, work.state.type() | SOCK_CLOEXEC, 0)));
      work.fd = TRY(fetch_descriptor(maker.process().pid, static_cast<int>(there)));
      TRY(bind(work));
      if (socket.listens()) TRY(in("listen", calls(SYS_listen, there, socket.backlog())));
      TRY(in("close", calls(SYS_close, there)));
      return {};
    });
  }

  // Who called listen(2) last is whose credentials it tells of. Where that was whoever hands it to us, it has been
  // called.
  Result<> take_passed(Work& work) {
    const Socket& socket = work.socket;
    work.fd = TRY(restoring_.passed_sockets.take(work.state, socket.name()));
    if (!socket.has_credentials()) return connect_to(work);
    Maker maker = TRY(maker_of(work));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      TRY(in("listen", calls(SYS_listen, work.fd.get(), socket.backlog())));  // inherited
      return {};
    });
  }

  Result<> bind(const Work& work) {
    if (work.socket.name().empty()) return {};
    auto connect = [&] { return connect_to(work); };
    return work.socket.has_file() ? bind_to_file(restoring_.root.get(), work, connect)
                                  : bind_to_name(work.fd.get(), work.socket.name(), connect);
  }

  // Datagrams lead one way, to a name.
  Result<> connect_to(const Work& peer) {
    for (auto& [id, work] : all_) {
      bool leads_there = work.socket.connected() && work.socket.peer_name().empty() && !work.socket.peer_is_gone() &&
                         work.socket.peer() == peer.socket.id();
      if (!of_datagrams(work) || !leads_there || is_half(work)) continue;
      if (!work.fd) work.fd = TRY(make_socket(type_of(work.state)));
      if (::connect(work.fd.get(), as_address(peer.socket.name()), size_of(peer.socket.name())))
        return fail_errno("connect");
    }
    return {};
  }

  Result<> make_half(Work& work) {
    bool was_accepted = !work.socket.name().empty();
    if (work.socket.peer_is_gone()) {
      Fd& peer = gone_peers_[work.socket.id()];
      TRY(was_accepted ? connect(peer, work) : make_pair(work, work.fd, peer));
      return name_gone(peer.get(), work.socket.gone_peer_name());
    }
    auto peer = all_.find(work.socket.peer());
    if (peer == all_.end()) return fail("its peer is missing in the image");
    Work& other = peer->second;
    if (was_accepted) return connect(other.fd, work);
    return other.socket.name().empty() ? make_pair(work, work.fd, other.fd) : connect(work.fd, other);
  }

  // Its peer shows it. An abstract name that somebody has taken meanwhile cannot be shown too.
  static Result<> name_gone(int fd, const std::string& name) {
    if (name.empty()) return {};
    auto bound = bind_to_name(fd, name, [] { return Result<>(); });
    if (!bound && bound.error().code == EADDRINUSE) return {};
    return bound;
  }

  Result<> make_pair(const Work& work, Fd& one, Fd& other) {
    if (!work.socket.has_credentials()) return fail("has no credentials of who has made it");
    if (work.socket.credentials().pid() == 0)
      return as_user(work.socket.credentials(), [&]() -> Result<> {
        Two fds;
        if (::socketpair(AF_UNIX, work.state.type() | SOCK_CLOEXEC, 0, fds.data())) return fail_errno("socketpair");
        one = Fd(fds[0]);
        other = Fd(fds[1]);
        return {};
      });
    Maker maker = TRY(maker_of(work));
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      RestoredProcess& process = maker.process();
      TRY(in("socketpair", calls(SYS_socketpair, AF_UNIX, work.state.type() | SOCK_CLOEXEC, 0, process.scratch)));
      auto fds = TRY(process.memory->read<Two>(process.scratch));
      one = TRY(maker.take(calls, fds[0]));
      other = TRY(maker.take(calls, fds[1]));
      return {};
    });
  }

  // As a client of the one that listens under the name.
  Result<> connect(Fd& client, Work& accepted) {
    auto listener = std::ranges::find_if(all_, [&](const auto& entry) {
      return entry.second.socket.listens() && entry.second.socket.name() == accepted.socket.name();
    });
    if (listener == all_.end()) return fail("nobody listens under its name any more");
    TRY(accepted.socket.credentials().pid() ? connect_remotely(client, accepted)
                                            : connect_as_user(client, accepted, listener->second));
    accepted.fd = Fd(::accept4(listener->second.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted.fd) return fail_errno("accept");
    return {};
  }

  Result<> connect_as_user(Fd& client, const Work& accepted, const Work& listener) {
    const std::string& name = accepted.socket.name();
    client = TRY(make_socket(type_of(accepted.state)));
    const std::string directory = listener.socket.has_file() ? listener.socket.file().directory() : "/";
    return in_directory(restoring_.root.get(), directory, [&] {
      return as_user(accepted.socket.credentials(), [&]() -> Result<> {
        return ::connect(client.get(), as_address(name), size_of(name)) ? fail_errno("connect") : Result<>();
      });
    });
  }

  Result<> connect_remotely(Fd& client, const Work& accepted) {
    Maker maker = TRY(maker_of(accepted));  // what it sees of its peer is who has connected
    const std::string& name = accepted.socket.name();
    return maker.act([&](RemoteCalls& calls) -> Result<> {
      RestoredProcess& process = maker.process();
      auto there = TRY(in("socket", calls(SYS_socket, AF_UNIX, accepted.state.type() | SOCK_CLOEXEC, 0)));
      TRY(process.memory->write(process.scratch, std::as_bytes(std::span(name))));
      TRY(in("connect", calls(SYS_connect, there, process.scratch, name.size())));
      client = TRY(maker.take(calls, static_cast<int>(there)));
      return {};
    });
  }

  // Who logs to a socket that is not there finds its message refused, and connects again.
  void connect_outside(const Work& work) {
    const std::string& name = work.socket.peer_name();
    (void)in_directory(restoring_.root.get(), "/", [&]() -> Result<> {
      return ::connect(work.fd.get(), as_address(name), size_of(name)) ? fail_errno("connect") : Result<>();
    });
  }

  Result<> send_queue(Work& work) {
    const std::string& queue = work.socket.queue();
    if (queue.empty()) return {};
    auto gone = gone_peers_.find(work.socket.id());
    int from = gone != gone_peers_.end() ? gone->second.get() : all_.at(work.socket.peer()).fd.get();
    return with_wide_buffers(from, queue.size(), 0, [&]() -> Result<> {
      ssize_t sent = ::send(from, queue.data(), queue.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      return sent == static_cast<ssize_t>(queue.size()) ? Result<>() : fail_errno("send");
    });
  }

  Result<> shut_down(const Work& work) {
    constexpr uint32_t kReceives = 1, kSends = 2;
    uint32_t off = work.socket.shutdown();
    if (!off || work.socket.peer_is_gone()) return {};
    // That one end of a connection does not send makes the other one not receive, and the other way round.
    if (!of_datagrams(work)) off &= kSends;
    int how = off == (kReceives | kSends) ? SHUT_RDWR : off == kReceives ? SHUT_RD : SHUT_WR;
    if (off && ::shutdown(work.fd.get(), how)) return fail_errno("shutdown");
    return {};
  }

  Restoring& restoring_;
  std::map<uint32_t, Work> all_;
  std::map<uint32_t, Fd> gone_peers_;
};

}  // namespace

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  Sockets sockets(restoring);
  for (const Envelope& envelope : envelopes) TRY(sockets.add(envelope));
  return sockets.make();
}

}  // namespace ks::engine::unix_socket

namespace ks::engine {

extern const Kind kUnixSocket;
const Kind kUnixSocket{.name = unix_socket::kName,
                       .version = unix_socket::kVersion,
                       .owns = unix_socket::owns,
                       .dump = unix_socket::dump,
                       .make = unix_socket::make,
                       .of_processes = true};

}  // namespace ks::engine
