// SPDX-License-Identifier: LGPL-2.1-or-later
// Keyrings (keyrings(7)). Keys live in the kernel and end with it. systemd gives each service a session keyring, in
// which there is the ID of this start of the unit; that much is made again, and any other key is refused.
//
// The process itself can tell. Where a seccomp filter would end it for that, as SystemCallFilter= of many units does,
// the kernel's memory tells which keyrings it has, and we look into that of its session as its user.
#include "engine/task/keyrings.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "engine/kernel/keyrings.h"
#include "engine/keyrings.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr int kDeepest = 8;  // keyrings in keyrings; the kernel's own limit is 6
constexpr const char* kInvocation = "invocation_id";

struct Description {
  std::string type, name;
  image::Keyrings::Key key;
};

// "TYPE;UID;GID;PERM;NAME"
Result<Description> parse_description(std::string_view text) {
  Description description;
  description.type = take_until(text, ';');
  auto user = parse_number<uint32_t>(take_until(text, ';')), group = parse_number<uint32_t>(take_until(text, ';')),
       permissions = parse_number<uint32_t>(take_until(text, ';'), 16);
  if (!user || !group || !permissions) return fail("a key's description cannot be read");
  description.key.set_user(*user);
  description.key.set_group(*group);
  description.key.set_permissions(*permissions);
  description.name = text;
  return description;
}

bool is_gone(const Error& error) {
  return error.code == ENOKEY || error.code == EKEYREVOKED || error.code == EKEYEXPIRED;
}

class Inspection {
 public:
  Inspection(Dumping& dumping, DumpedProcess& process, image::Keyrings& out)
      : dumping_(dumping), process_(process), out_(out) {}

  // Of a process with threads that cannot be asked. Only a session keyring does anybody show but them.
  Result<> inspect_from_outside() {
    auto keyrings = keyrings_of(process_.stopped.pid);
    if (!keyrings) {
      refuse("keyrings",
             "what is in them cannot be told: its seccomp filter would end it if the checkpoint were interrupted (in "
             "keyctl); with SystemCallErrorNumber=EPERM it would not; and " +
                 keyrings.error().what);
      return {};
    }
    from_outside_ = true;
    StoppedThread& leader = process_.stopped.threads.front();
    for (const auto& [thread, process, session, user] : *keyrings) {
      users_ = {0, user, process_.stopped.status.uids[0], process_.stopped.status.uids[1]};
      Result<> looked;
      if (!thread && !process && session && !seen_.contains(session)) looked = inspect_session(leader, session);
      if (!looked && looked.error().code != EACCES) return looked;
      if (thread || process || !looked)
        refuse("keyrings",
               "what is in them only it can tell, and its seccomp filter would end it if the checkpoint were "
               "interrupted (in keyctl); with SystemCallErrorNumber=EPERM it would not");
    }
    return {};
  }

  Result<> inspect(StoppedThread& thread, const ThreadAnswers& answers, std::optional<int32_t> of_process) {
    for (auto serial : {answers.thread_keyring, of_process})
      if (serial && !seen_.contains(*serial)) TRY(inspect_keys(thread, *serial, 0));
    if (auto serial = answers.session_keyring; serial && !seen_.contains(*serial))
      TRY(inspect_session(thread, *serial));
    return {};
  }

 private:
  void refuse(std::string object, std::string text) {
    dumping_.refuse(process_.stopped.pid, std::move(object), std::move(text));
  }

  // Rights to it have its user and who possesses it, and not whoever may do everything. Only this thread changes its
  // user.
  Result<std::string> read_as_user(int operation, int32_t serial) const {
    std::string bytes(Foothold::kScratchSize, '\0');
    long length = -1;
    for (uid_t user : users_) {
      ::syscall(SYS_setfsuid, user);
      length = ::syscall(SYS_keyctl, operation, serial, bytes.data(), bytes.size());
      int error = errno;
      ::syscall(SYS_setfsuid, 0);
      errno = error;
      if (length >= 0 || errno != EACCES) break;
    }
    if (length < 0) return fail_errno("keyctl");
    if (static_cast<size_t>(length) > bytes.size()) return ks::refuse("is too large");
    bytes.resize(static_cast<size_t>(length));
    return bytes;
  }

  Result<std::string> read(StoppedThread& thread, int operation, int32_t serial) {
    if (from_outside_) return read_as_user(operation, serial);
    RemoteAddress scratch = process_.foothold.scratch();
    RemoteCalls& calls = *TRY(process_.foothold.on(thread));
    auto length = TRY(calls(SYS_keyctl, operation, serial, scratch, Foothold::kScratchSize));
    if (length > Foothold::kScratchSize) return ks::refuse("is too large");
    std::string bytes(length, '\0');
    TRY(process_.stopped.memory->read(scratch, std::as_writable_bytes(std::span(bytes))));
    return bytes;
  }
  Result<Description> describe(StoppedThread& thread, int32_t serial) {
    std::string text = TRY(read(thread, KEYCTL_DESCRIBE, serial));
    return parse_description(text.c_str());
  }

  Result<> inspect_session(StoppedThread& thread, int32_t serial) {
    auto described = TRY(in("session keyring", describe(thread, serial)));
    bool of_user = described.name.starts_with("_uid_ses.");
    if (!of_user && dumping_.session_keyring.value_or(serial) != serial)
      refuse(fmt::format("thread {}", thread.tid()),
             "has another session keyring than the unit's other processes, which is not supported yet");
    if (!of_user) {
      dumping_.session_keyring = serial;
      *out_.mutable_session() = described.key;
    }
    return inspect_keys(thread, serial, 0);
  }

  Result<> inspect_keys(StoppedThread& thread, int32_t keyring, int depth) {
    if (depth > kDeepest || !seen_.insert(keyring).second) return {};
    auto bytes = read(thread, KEYCTL_READ, keyring);
    if (!bytes && bytes.error().code == EACCES && !from_outside_) return {};  // not for it either
    std::string serials = TRY(in("keyring", std::move(bytes)));
    for (size_t at = 0; at + sizeof(int32_t) <= serials.size(); at += sizeof(int32_t)) {
      int32_t serial;
      std::memcpy(&serial, serials.data() + at, sizeof serial);
      auto described = describe(thread, serial);
      if (!described && is_gone(described.error())) continue;
      if (!described && described.error().code == EACCES) {
        refuse(fmt::format("key {}", serial), "is in a keyring of it, and a new kernel does not have it");
        continue;
      }
      auto key = TRY(in("key", std::move(described)));
      if (key.type == "keyring")
        TRY(inspect_keys(thread, serial, depth + 1));
      else if (key.type == "user" && key.name == kInvocation)
        TRY(keep_invocation(thread, serial, key.key));
      else
        refuse(fmt::format("key {}:{}", key.type, key.name),
               "is in a keyring of it, and a new kernel does not have it");
    }
    return {};
  }

  Result<> keep_invocation(StoppedThread& thread, int32_t serial, const image::Keyrings::Key& key) {
    auto id = read(thread, KEYCTL_READ, serial);
    if (!id) return {};  // it cannot read it itself
    *out_.mutable_invocation() = key;
    out_.set_invocation_id(*std::move(id));
    return {};
  }

  Dumping& dumping_;
  DumpedProcess& process_;
  image::Keyrings& out_;
  std::set<int32_t> seen_;
  bool from_outside_ = false;
  std::set<uid_t> users_;  // as whom we look then
};

// What a process with no keyring but that of its session sees there, others with its rights see too.
std::optional<KeyringView> view_of(const DumpedProcess& process) {
  const ProcessAnswers& answers = process.answers;
  if (answers.threads.size() != 1 || answers.keyring || !answers.threads[0].tells_keyrings) return std::nullopt;
  if (answers.threads[0].thread_keyring || !answers.threads[0].session_keyring) return std::nullopt;
  const Status& status = process.stopped.status;
  return KeyringView{*answers.threads[0].session_keyring, status.uids, status.gids, status.groups,
                     status.cap_effective};
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  auto view = view_of(process);
  if (auto known = view ? dumping.keyrings.find(*view) : dumping.keyrings.end(); known != dumping.keyrings.end()) {
    process.put(room.name, room.version, known->second);
    return {};
  }
  size_t reasons = dumping.verdict.reasons.size();
  image::Keyrings out;
  Inspection inspection(dumping, process, out);
  for (size_t i = 0; i < process.stopped.threads.size(); ++i) {
    StoppedThread& thread = process.stopped.threads[i];
    TRY(in(fmt::format("thread {}", thread.tid()),
           inspection.inspect(thread, process.answers.threads[i], process.answers.keyring)));
  }
  if (!std::ranges::all_of(process.answers.threads, &ThreadAnswers::tells_keyrings))
    TRY(in("keyrings", inspection.inspect_from_outside()));
  process.put(room.name, room.version, out);
  if (view && dumping.verdict.reasons.size() == reasons) dumping.keyrings.emplace(*std::move(view), std::move(out));
  return {};
}

Result<> inherited(Restoring&, RestoredProcess&, const TaskRoom&) { return {}; }

// Of the start of the unit that we are part of.
std::string own_invocation_id() {
  long key = ::syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", kInvocation, 0);
  char id[256];
  long length = key < 0 ? -1 : ::syscall(SYS_keyctl, KEYCTL_READ, key, id, sizeof id);
  return length <= 0 || length > static_cast<long>(sizeof id) ? "" : std::string(id, static_cast<size_t>(length));
}

Result<> set_owner(RemoteCalls& calls, uint64_t serial, const image::Keyrings::Key& key) {
  auto owned = calls(SYS_keyctl, KEYCTL_CHOWN, serial, key.user(), key.group());
  // It may have as many as it may have; then it stays ours, and the process possesses it all the same.
  if (!owned && owned.error().code != EDQUOT) return std::unexpected(owned.error());
  TRY(calls(SYS_keyctl, KEYCTL_SETPERM, serial, key.permissions()));
  return {};
}

}  // namespace

Result<bool> give_session_keyring(Seed& seed, RemoteAddress scratch, const std::map<std::string, Envelope>& rooms) {
  auto envelope = rooms.find("keyrings");
  if (envelope == rooms.end()) return false;
  image::Keyrings keyrings;
  TRY(parse_body(envelope->second, keyrings));
  if (!keyrings.has_session()) return false;
  RemoteCalls& calls = seed.calls();
  uint64_t session = TRY(in("KEYCTL_JOIN_SESSION_KEYRING", calls(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0)));
  if (keyrings.has_invocation()) {
    std::string id = own_invocation_id();
    if (id.empty()) id = keyrings.invocation_id();
    struct {
      char type[8] = "user", name[16] = "invocation_id", id[256]{};
    } text;
    if (id.size() > sizeof text.id) return fail("invocation_id: too long");
    std::memcpy(text.id, id.data(), id.size());
    TRY(seed.memory().write_value(scratch, text));
    uint64_t key = TRY(in("add_key", calls(SYS_add_key, scratch, scratch + sizeof text.type,
                                           scratch + sizeof text.type + sizeof text.name, id.size(), session)));
    TRY(in("invocation_id", set_owner(calls, key, keyrings.invocation())));
  }
  TRY(in("session keyring", set_owner(calls, session, keyrings.session())));
  return true;
}

extern const TaskRoom kKeyrings;
const TaskRoom kKeyrings{.name = "keyrings", .version = 1, .dump = dump, .restore = inherited};

}  // namespace ks::engine
