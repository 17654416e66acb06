// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/context/passed_sockets.h"
#include "engine/context/socket_state.h"
#include "engine/kernel/unix_diag.h"
#include "engine/kinds/unix_socket/places.h"
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

constexpr uint8_t kBothWays = 3;                       // of shutdown
constexpr unsigned long kOpenFile = SIOCPROTOPRIVATE;  // SIOCUNIXFILE of linux/un.h, which defines what sys/un.h does

struct Surroundings {
  UnixSocketTable table;
  std::map<uint32_t, uint32_t> ids;  // of the target's own, by inode
  std::set<uint32_t> waiting;        // inodes of those that one of the target's own has not accepted yet
};

class Description;

// All that could be described.
struct Overview {
  std::map<uint32_t, const Description*> by_id;
  std::set<std::string> listened;  // names by which one that listens is reached
  std::set<std::string> senders;   // abstract names of those that send datagrams
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
  Result<> check(const Overview& all) {
    const Description* peer =
        out_.connected() && out_.peer_name().empty() && !out_.peer_is_gone() ? all.by_id.at(out_.peer()) : nullptr;
    bool mutual = peer && peer->out_.connected() && peer->out_.peer() == out_.id();
    if (has_datagrams()) {
      bool is_pair = mutual && peer->out_.name().empty();
      TRY(check_senders(all, is_pair));
      if (is_pair && out_.name().empty()) TRY(check_for_more());
      if (peer && peer->out_.name().empty() && !(is_pair && out_.name().empty()))
        return refuse("is connected to a socket without a name, which is not connected to it, or has one itself");
      return {};
    }
    if (state_.type() == SOCK_SEQPACKET) TRY(check_for_more());
    return out_.connected() && !out_.name().empty() ? check_name(all, peer) : Result<>();
  }
  void enter(Overview& all) const {
    all.by_id[out_.id()] = this;
    if (out_.listens() && (out_.has_file() || is_abstract(out_.name()))) all.listened.insert(out_.name());
    if (has_datagrams() && is_abstract(out_.name())) all.senders.insert(out_.name());
  }
  void write() {
    dumping_.put_file(kName, kVersion, out_);
    if (!closed_.empty()) dumping_.remark(file_.pid, file_.object(), closed_ + " (ExternalSockets=reset)");
  }
  const OpenFile& file() const { return file_; }

 private:
  bool has_datagrams() const { return state_.type() == SOCK_DGRAM; }

  Result<> describe_use() {
    if (facts_.listens) {
      out_.set_listens(true);
      out_.set_backlog(facts_.backlog);
      return describe_waiting();
    }
    if (!facts_.peer) return {};
    if (*facts_.peer == 0 && around_.waiting.contains(static_cast<uint32_t>(file_.stat.st_ino))) {
      out_.set_waits(true);
      return {};
    }
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

  // What a client has sent before it is accepted, can be read by nobody.
  Result<> describe_waiting() {
    size_t others = 0;
    for (uint32_t client : facts_.waiting) {
      auto known = around_.ids.find(client);
      auto facts = around_.table.find(client);
      if (known == around_.ids.end() || facts == around_.table.end()) {
        ++others;
        continue;
      }
      if (facts->second.unread) return refuse_for_now("has a connection, with data, that nobody has accepted yet");
      out_.add_waiting(known->second);
    }
    if (!facts_.waiting.empty() && !out_.has_file() && !is_abstract(out_.name()))
      return refuse_for_now("has connections that nobody has accepted yet, and its name leads elsewhere now");
    if (facts_.waiting.size() > static_cast<size_t>(facts_.backlog) + 1)
      return refuse_for_now("has more connections that nobody has accepted yet than it lets wait now");
    if (!others) return {};
    if (!dumping_.options.reset_external_sockets)
      return refuse_for_now(
          "has connections from outside that nobody has accepted yet; they end with ExternalSockets=reset in the "
          "mark, "
          "kernel-swap-mark(5)");
    closed_ = fmt::format("{} connections from outside that nobody has accepted yet will not be there", others);
    return {};
  }

  // Who has connected is shown when it is accepted, and not before. So it has to be plain: one process has it open,
  // and all are of one user.
  Result<> describe_who_waits() {
    const StoppedProcess* who = nullptr;
    for (const StoppedProcess& process : dumping_.processes) {
      if (process.zombie || dumping_.number_of(process.pid, file_.id) < 0) continue;
      if (who) return refuse_for_now("has not been accepted yet, and several processes may have connected it");
      who = &process;
    }
    for (const StoppedProcess& process : dumping_.processes)
      if (!who || (!process.zombie &&
                   (process.status.uids[1] != who->status.uids[1] || process.status.gids[1] != who->status.gids[1])))
        return refuse_for_now("has not been accepted yet, and users of several processes may have connected it");
    out_.mutable_credentials()->set_pid(who->pid);
    out_.mutable_credentials()->set_user(who->status.uids[1]);
    out_.mutable_credentials()->set_group(who->status.gids[1]);
    return {};
  }

  // An abstract one is its own if somebody is bound to it: who has been accepted only shows it.
  bool is_alone_under_its_name() const {
    if (std::ranges::count(around_.table, facts_.name, [](const auto& one) { return one.second.name; }) != 1)
      return false;
    auto other = make_socket({AF_UNIX, state_.type(), 0});
    return other && ::bind(other->get(), as_address(out_.name()), size_of(out_.name())) && errno == EADDRINUSE;
  }

  // A name of one end of a connection is that of who has accepted it, or its own.
  Result<> check_name(const Overview& all, const Description* peer) {
    bool peer_is_listened = peer && all.listened.contains(peer->out_.name());
    if (all.listened.contains(out_.name())) {
      if (peer_is_listened)
        return refuse("is connected to one that may have accepted it, or has been accepted by it");
      out_.set_accepted(true);
      return {};
    }
    if (peer_is_listened) return {};
    // Two that are made together tell of the same process.
    bool can_be_pair =
        !peer || peer->out_.credentials().SerializeAsString() == out_.credentials().SerializeAsString();
    if (is_abstract(out_.name()) ? !is_alone_under_its_name() : !can_be_pair)
      return refuse("was accepted under a name at which no process of it listens any more");
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
    closed_ = what + "; comes back closed";
    out_.set_peer_is_gone(true);
    out_.set_gone_peer_name(peer_name);
    return {};
  }

  // Directories below /run, and maybe /tmp, are gone with the boot, unless somebody makes them anew.
  Result<> describe_place(int file, dev_t device, const std::string& path) {
    struct statfs system{};
    if (::fstatfs(file, &system)) return fail_errno(path);
    if (!dumping_.vanishes(path, static_cast<uint64_t>(system.f_type))) return {};
    image::CarriedFileList::File place;
    place.set_path(path);
    TRY(describe_above(dumping_.mounts.root.get(), path, device, place));
    out_.mutable_file()->set_place(place.SerializeAsString());
    return {};
  }

  bool is_file(const struct stat& stat) const {
    return S_ISSOCK(stat.st_mode) && static_cast<uint32_t>(stat.st_ino) == facts_.file->inode;
  }

  // Under which names a directory has it: many bind a socket to a name that nobody knows, and then rename it.
  Result<std::vector<std::string>> names_in(const std::string& directory, struct stat& found) const {
    std::vector<std::string> names;
    auto opened = open_in_root(dumping_.mounts.root.get(), directory, O_RDONLY | O_DIRECTORY);
    if (!opened) return names;
    for (const auto& name : TRY(list_directory(fmt::format("/proc/self/fd/{}", opened->get())))) {
      struct stat stat{};
      if (::fstatat(opened->get(), name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) || !is_file(stat)) continue;
      found = stat;
      names.push_back(name);
    }
    std::ranges::sort(names);
    return names;
  }

  // How many names its file has, and one of them.
  Result<std::pair<nlink_t, std::string>> ask_for_file() const {
    Fd file(::ioctl(mine_.get(), kOpenFile));
    if (!file) return fail_errno("SIOCUNIXFILE");
    struct stat stat{};
    if (::fstat(file.get(), &stat)) return fail_errno("its file");
    return std::pair(stat.st_nlink, TRY(read_link(fmt::format("/proc/self/fd/{}", file.get()))));
  }

  // Where a name starts that is relative, nobody tells; but most have stayed there.
  Result<> find_file(const std::string& name) {
    std::filesystem::path path = file_name(name);
    std::vector<std::string> directories = {"/"};
    if (path.is_relative()) {
      directories.clear();
      for (const auto& process : dumping_.processes)
        if (!process.zombie) directories.push_back(TRY(read_link(process.proc("cwd"))));
    }
    bool is_own = facts_.listens || has_datagrams();  // not that of the one that has accepted it
    auto [links, one] = is_own ? TRY(ask_for_file()) : std::pair(nlink_t{1}, std::string());
    for (const auto& directory : directories) {
      std::string whole = directory / path;
      auto found = open_in_root(dumping_.mounts.root.get(), whole, O_PATH | O_NOFOLLOW);
      struct stat stat{};
      bool leads = found && ::fstat(found->get(), &stat) == 0 && is_file(stat);
      std::vector<std::string> names;
      if (links > (leads ? 1 : 0) && is_own) names = TRY(names_in(std::filesystem::path(whole).parent_path(), stat));
      if (!leads && names.empty()) continue;
      if (is_own && links > 1 && names.size() != links)
        return refuse(fmt::format("its file has {} names, of which {} lie in its directory", links, names.size()));
      if (!leads) {
        std::string there = std::filesystem::path(whole).parent_path() / names.front();
        found = TRY(open_in_root(dumping_.mounts.root.get(), there, O_PATH | O_NOFOLLOW));
      }
      auto* out = out_.mutable_file();
      TRY(describe_place(found->get(), stat.st_dev, whole));
      out->set_directory(directory);
      out->set_mode(stat.st_mode & 07777);
      out->set_user(stat.st_uid);
      out->set_group(stat.st_gid);
      out->set_renamed(!leads);
      for (auto& other : names)
        if (!leads || other != path.filename()) out->add_names(std::move(other));
      return {};
    }
    if (is_own && links > 0)
      return refuse(fmt::format("is bound to {}, where its file is not any more; it is {} now", path.string(), one));
    return {};
  }

  // Those of a process that is there again can be had again, from itself.
  Result<> describe_credentials() {
    if (out_.waits()) return describe_who_waits();
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(mine_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length)) return fail_errno("SO_PEERCRED");
    if (peer.pid == 0 && peer.uid == ~0u) return {};
    if (out_.passed() && peer.pid == dumping_.options.starter) return {};  // who made it listen, and will again
    auto* out = out_.mutable_credentials();
    out->set_user(peer.uid);
    out->set_group(peer.gid);
    bool has_ended = ::access(proc_path(peer.pid, "").c_str(), F_OK) != 0;
    if (is_there(peer.pid)) {
      out->set_pid(peer.pid);
      return {};
    }
    bool is_closed = out_.peer_is_gone() && !has_datagrams();
    out->set_ended(true);
    if (closed_.empty() && has_ended && dumping_.nested.all().empty()) {
      out->set_pid(peer.pid);
      dumping_.remembered.insert(peer.pid);
    } else if (!is_closed || !dumping_.options.reset_external_sockets) {
      return refuse(
          fmt::format("tells of credentials (SO_PEERCRED) of pid {}, which is not part of it{}", peer.pid,
                      is_closed ? "; with ExternalSockets=reset in the mark it tells only of the user" : ""));
    }
    std::vector<gid_t> groups(65536);
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(mine_.get(), SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes))
      return fail_errno("SO_PEERGROUPS");
    groups.resize(bytes / sizeof(gid_t));
    out->mutable_groups()->Assign(groups.begin(), groups.end());
    return {};
  }

  Result<> describe_queue() {
    auto queue = dumping_.queues.find(file_.id);
    if (queue == dumping_.queues.end()) return {};
    for (const ReceivedMessage& message : queue->second) {
      auto* out = out_.add_queue();
      out->set_bytes(message.bytes);
      out->set_sender(message.sender);
      for (uint32_t file : message.files) out->add_files(file);
      // Who has not told of himself has no PID.
      if (!message.credentials || message.credentials->pid == 0) continue;
      if (!is_there(message.credentials->pid))
        return refuse_for_now(fmt::format("holds a message with credentials of pid {}, which is not part of it",
                                          message.credentials->pid));
      out->mutable_credentials()->set_pid(message.credentials->pid);
      out->mutable_credentials()->set_user(message.credentials->uid);
      out->mutable_credentials()->set_group(message.credentials->gid);
    }
    return {};
  }

  bool is_there(pid_t pid) const {
    return std::ranges::any_of(dumping_.processes,
                               [&](const StoppedProcess& process) { return process.pid == pid && !process.zombie; });
  }

  // Whether datagrams can be sent to it once more by who has sent them, as far as they show him.
  Result<> check_senders(const Overview& all, bool is_pair) const {
    for (const auto& message : out_.queue()) {
      const std::string& sender = message.sender();
      if (out_.name().empty() || out_.peer_is_gone()) {
        if (!sender.empty() || !(is_pair || out_.peer_is_gone()))
          return refuse_for_now("holds datagrams of others than its peer");
        continue;
      }
      if (is_abstract(sender) && !all.senders.contains(sender))
        return refuse_for_now(
            fmt::format("holds a datagram from {}, which no process of it has open", address_text(sender)));
    }
    return {};
  }
  // Only its peer can have sent to it.
  Result<> check_for_more() const {
    auto peer = around_.table.find(facts_.peer.value_or(0));
    if (!dumping_.image || dumping_.messages_counted || peer == around_.table.end() || out_.peer_is_gone()) return {};
    auto queue = dumping_.queues.find(file_.id);
    std::span<const ReceivedMessage> messages;
    if (queue != dumping_.queues.end()) messages = queue->second;
    if (peer->second.unread == (messages.empty() ? 0u : TRY(memory_of(state_.type(), messages)))) return {};
    return refuse_for_now("holds an empty message that shows no more since somebody has looked");
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
  for (const OpenFile& file : files) {
    auto inode = static_cast<uint32_t>(file.stat.st_ino);
    around.ids[inode] = file.id;
    if (auto facts = around.table.find(inode); facts != around.table.end())
      around.waiting.insert(facts->second.waiting.begin(), facts->second.waiting.end());
  }
  std::vector<Description> all;
  bool complete = true;
  for (const OpenFile& file : files)
    complete &= TRY(is_done(dumping, file, all.emplace_back(dumping, file, around).read()));
  if (!complete) return {};
  Overview overview;
  for (const Description& socket : all) socket.enter(overview);
  for (Description& socket : all)
    if (TRY(is_done(dumping, socket.file(), socket.check(overview)))) socket.write();
  return {};
}

}  // namespace ks::engine::unix_socket
