// SPDX-License-Identifier: LGPL-2.1-or-later
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/context/passed_sockets.h"
#include "engine/context/socket_state.h"
#include "engine/kernel/unix_diag.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

namespace {

using Socket = image::UnixSocket;

template <class Call>  // getsockname or getpeername
std::string name_by(Call call, int fd) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if (call(fd, reinterpret_cast<sockaddr*>(&address), &length) || length <= offsetof(sockaddr_un, sun_path))
    return "";
  return std::string(reinterpret_cast<const char*>(&address), std::min<size_t>(length, sizeof address));
}

constexpr uint8_t kBothWays = 3;  // of shutdown

struct Surroundings {
  UnixSocketTable table;
  std::map<uint32_t, uint32_t> ids;  // of the target's own, by inode
};

class Description {
 public:
  Description(Dumping& dumping, const OpenFile& file, const Surroundings& around)
      : dumping_(dumping), file_(file), around_(around) {}

  Result<> read() {
    mine_ = TRY(file_.fetch());
    out_.set_passed(TRY(is_passed(dumping_.outside, dumping_.options, file_)));
    state_ = TRY(read_socket_state(dumping_.fresh_sockets, file_, mine_.get()));
    auto facts = around_.table.find(static_cast<uint32_t>(file_.stat.st_ino));
    if (facts == around_.table.end()) return fail("sock_diag does not list it");
    facts_ = facts->second;
    out_.set_id(file_.id);
    out_.set_state(state_.SerializeAsString());
    out_.set_shutdown(facts_.shutdown);
    if (std::string name = name_by(::getsockname, mine_.get()); !name.empty()) {
      out_.set_name(name);
      if (facts_.file) TRY(find_file(name));
    }
    TRY(describe_use());
    if (out_.passed() && (out_.name().empty() || out_.connected()))
      return refuse("is held by the service manager too, and is connected or has no name");
    TRY(describe_credentials());
    return describe_queue();
  }

  // Whether it can be connected again as it is.
  Result<> check(const std::vector<Description>& all) const {
    if (!out_.connected() || !out_.peer_name().empty()) return {};
    if (has_datagrams()) {
      if (out_.peer_is_gone()) return {};
      const Description& peer = *std::ranges::find(all, out_.peer(), [](const auto& one) { return one.out_.id(); });
      bool mutual = peer.out_.connected() && peer.out_.peer() == out_.id();
      if (peer.out_.name().empty() && (!mutual || !out_.name().empty()))
        return refuse("is connected to a socket without a name, which is not connected to it, or has one itself");
      return {};
    }
    if (out_.name().empty()) return {};
    bool listened = std::ranges::any_of(all, [&](const Description& other) { return other.listens_at(out_.name()); });
    if (!listened) return refuse("was accepted under a name at which no process of it listens any more");
    bool peer_is_named = !out_.peer_is_gone() && !name_by(::getpeername, mine_.get()).empty();
    if (peer_is_named) return refuse("is connected to one that has been bound to a name, which is not supported yet");
    return {};
  }
  void write() {
    dumping_.put_file(kName, kVersion, out_);
    if (!closed_.empty())
      dumping_.remark(file_.pid, file_.object(), closed_ + "; comes back closed (ExternalSockets=reset)");
  }
  const OpenFile& file() const { return file_; }

 private:
  bool has_datagrams() const { return state_.type() == SOCK_DGRAM; }
  bool listens_at(const std::string& name) const {
    return out_.listens() && out_.name() == name && (out_.has_file() || is_abstract(name));
  }

  Result<> describe_use() {
    if (facts_.listens) {
      if (!facts_.waiting.empty())
        return refuse("has connections that nobody has accepted yet, which is not supported yet");
      out_.set_listens(true);
      out_.set_backlog(facts_.backlog);
      return {};
    }
    if (!facts_.peer) return {};
    out_.set_connected(true);
    std::string peer_name = name_by(::getpeername, mine_.get());
    if (auto known = around_.ids.find(*facts_.peer); known != around_.ids.end()) {
      out_.set_peer(known->second);
    } else if (has_datagrams() && !peer_name.empty()) {
      out_.set_peer_name(peer_name);
    } else if (*facts_.peer == 0 && (has_datagrams() || facts_.shutdown == kBothWays)) {
      out_.set_peer_is_gone(true);
      out_.set_gone_peer_name(peer_name);
    } else {
      return describe_external(peer_name);
    }
    return {};
  }

  // Who is at its far end keeps state of it, and does not go along.
  Result<> describe_external(const std::string& peer_name) {
    std::string what =
        fmt::format("is connected to {}, {}", peer_name.empty() ? "a socket without a name" : address_text(peer_name),
                    *facts_.peer ? "which no process of it has open" : "which has not accepted it yet");
    if (has_datagrams()) return refuse(what);
    if (!dumping_.options.reset_external_sockets)
      return refuse(what + "; with ExternalSockets=reset in the mark it comes back closed (kernel-swap-mark(5))");
    closed_ = std::move(what);
    out_.set_peer_is_gone(true);
    out_.set_gone_peer_name(peer_name);
    return {};
  }

  // Where a name starts that is relative, nobody tells; but most have stayed there.
  Result<> find_file(const std::string& name) {
    std::string path(path_of(name));
    path.resize(::strnlen(path.data(), path.size()));
    std::vector<std::string> directories = {"/"};
    if (!path.starts_with('/')) {
      directories.clear();
      for (const auto& process : dumping_.processes)
        if (!process.zombie) directories.push_back(TRY(read_link(process.proc("cwd"))));
    }
    for (const auto& directory : directories) {
      std::string whole = directory == "/" ? path : directory + "/" + path;
      auto found = open_in_root(dumping_.mounts.root.get(), whole, O_PATH | O_NOFOLLOW);
      struct stat stat{};
      if (!found || ::fstat(found->get(), &stat) || static_cast<uint32_t>(stat.st_ino) != facts_.file->inode ||
          !S_ISSOCK(stat.st_mode))
        continue;
      auto* out = out_.mutable_file();
      out->set_directory(directory);
      out->set_mode(stat.st_mode & 07777);
      out->set_user(stat.st_uid);
      out->set_group(stat.st_gid);
      return {};
    }
    return {};
  }

  // Those of a process that is there again can be had again, from itself.
  Result<> describe_credentials() {
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(mine_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length)) return fail_errno("SO_PEERCRED");
    if (peer.pid == 0 && peer.uid == ~0u) return {};
    if (out_.passed() && peer.pid == dumping_.options.starter) return {};  // who made it listen, and will again
    bool is_there = std::ranges::any_of(dumping_.processes, [&](const StoppedProcess& process) {
      return process.pid == peer.pid && !process.zombie;
    });
    bool is_closed = out_.peer_is_gone() && !has_datagrams();
    if (!is_there && !(is_closed && dumping_.options.reset_external_sockets))
      return refuse(
          fmt::format("tells of credentials (SO_PEERCRED) of pid {}, which is not part of it{}", peer.pid,
                      is_closed ? "; with ExternalSockets=reset in the mark it tells only of the user" : ""));
    out_.mutable_credentials()->set_pid(is_there ? peer.pid : 0);
    out_.mutable_credentials()->set_user(peer.uid);
    out_.mutable_credentials()->set_group(peer.gid);
    return {};
  }

  Result<> describe_queue() {
    pollfd poll{.fd = mine_.get(), .events = POLLIN | POLLPRI, .revents = 0};
    if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
    if (facts_.listens || !(poll.revents & (POLLIN | POLLPRI))) return {};
    int bytes = 0;
    if (::ioctl(mine_.get(), FIONREAD, &bytes)) return fail_errno("FIONREAD");
    if (state_.type() != SOCK_STREAM) {
      // The end of a connection makes it readable too.
      char byte;
      ssize_t got = ::recv(mine_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      bool ended = facts_.shutdown & 1 && got == 0 && bytes == 0;
      return ended || got < 0 ? Result<>() : refuse("holds messages that nobody has read yet; try again");
    }
    if (bytes == 0) return {};
    if (poll.revents & POLLPRI) return refuse("holds data out of band, which is not supported yet");
    if (find_option(state_, SOL_SOCKET, SO_PEEK_OFF))
      return refuse("holds data, and looks ahead in it (SO_PEEK_OFF), which is not supported yet");
    return peek(static_cast<size_t>(bytes));
  }

  Result<> peek(size_t bytes) {
    std::string data(bytes, '\0');
    iovec place{data.data(), data.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(253 * sizeof(int))];
    msghdr message{.msg_name = nullptr,
                   .msg_namelen = 0,
                   .msg_iov = &place,
                   .msg_iovlen = 1,
                   .msg_control = control,
                   .msg_controllen = sizeof control,
                   .msg_flags = 0};
    ssize_t got = ::recvmsg(mine_.get(), &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) return fail_errno("recvmsg");
    bool carries = message.msg_flags & MSG_CTRUNC;
    for (cmsghdr* at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
      carries = true;
      if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
      for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= at->cmsg_len; ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(at) + i * sizeof fd, sizeof fd);
        Fd closed(fd);
      }
    }
    if (carries || static_cast<size_t>(got) != bytes)
      return refuse("holds data with descriptors or credentials, which is not supported yet");
    out_.set_queue(std::move(data));
    return {};
  }

  Dumping& dumping_;
  const OpenFile& file_;  // of all that there are
  const Surroundings& around_;
  Fd mine_;
  image::SocketState state_;
  UnixSocketFacts facts_;
  Socket out_;
  std::string closed_;  // what it was connected to, where that is not to be
};

}  // namespace

bool owns(const OpenFile& file) { return file.socket && file.socket->family == AF_UNIX; }

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  Surroundings around{.table = TRY(read_unix_sockets()), .ids = {}};
  for (const OpenFile& file : files) around.ids[static_cast<uint32_t>(file.stat.st_ino)] = file.id;
  std::vector<Description> all;
  bool complete = true;
  for (const OpenFile& file : files)
    complete &= TRY(is_done(dumping, file, all.emplace_back(dumping, file, around).read()));
  if (!complete) return {};
  for (Description& socket : all)
    if (TRY(is_done(dumping, socket.file(), socket.check(all)))) socket.write();
  return {};
}

}  // namespace ks::engine::unix_socket
