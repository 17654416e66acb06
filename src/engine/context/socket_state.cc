// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/socket_state.h"

#include <fcntl.h>
#include <sys/socket.h>

namespace ks::engine {

namespace {

using State = image::SocketState;

Result<> read_buffers(int mine, const FreshSockets::Facts& fresh, State& out) {
  int locks = TRY(read_number(mine, SOL_SOCKET, kBufferLock));
  for (auto [name, lock, usual, buffer] :
       {std::tuple(SO_SNDBUF, kSendLocked, fresh.send_buffer, &State::mutable_send_buffer),
        std::tuple(SO_RCVBUF, kReceiveLocked, fresh.receive_buffer, &State::mutable_receive_buffer)}) {
    int bytes = TRY(read_number(mine, SOL_SOCKET, name));
    if (!(locks & lock) && bytes == usual) continue;
    (out.*buffer)()->set_bytes(static_cast<uint32_t>(bytes));
    (out.*buffer)()->set_locked(locks & lock);
  }
  return {};
}

// What is pending there is told once, to whoever asks first.
Result<> check_for_errors(int mine) {
  if (TRY(has_error(mine))) return refuse_for_now("has an error that nobody has read yet (SO_ERROR)");
  return {};
}

Result<> apply_buffers(int fd, const State& state) {
  int locks = 0;
  if (state.has_send_buffer()) {
    // What is set is doubled.
    TRY(set_number(fd, SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(state.send_buffer().bytes() / 2)));
    if (state.send_buffer().locked()) locks |= kSendLocked;
  }
  if (state.has_receive_buffer()) {
    TRY(set_number(fd, SOL_SOCKET, SO_RCVBUFFORCE, static_cast<int>(state.receive_buffer().bytes() / 2)));
    if (state.receive_buffer().locked()) locks |= kReceiveLocked;
  }
  if (state.has_send_buffer() || state.has_receive_buffer()) TRY(set_number(fd, SOL_SOCKET, kBufferLock, locks));
  return {};
}

}  // namespace

Result<const FreshSockets::Facts*> FreshSockets::of(const SocketType& type) {
  if (auto known = known_.find(type); known != known_.end()) return &known->second;
  Fd fresh = TRY(make_socket(type));
  Facts facts{.network = TRY(network_of_socket(fresh.get())),
              .send_buffer = TRY(read_number(fresh.get(), SOL_SOCKET, SO_SNDBUF)),
              .receive_buffer = TRY(read_number(fresh.get(), SOL_SOCKET, SO_RCVBUF))};
  for (const SocketOption& option : options_of(type)) facts.options.push_back(TRY(read_option(fresh.get(), option)));
  return &known_.emplace(type, std::move(facts)).first->second;
}

SocketType type_of(const State& state) { return {state.family(), state.type(), state.protocol()}; }

Result<State> read_socket_state(FreshSockets& fresh_sockets, const OpenFile& file, int mine, bool may_have_error) {
  State out;
  const SocketType& type = *file.socket;
  out.set_family(type.family);
  out.set_type(type.type);
  out.set_protocol(type.protocol);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_user(file.stat.st_uid);
  out.set_group(file.stat.st_gid);
  const FreshSockets::Facts& fresh = *TRY(fresh_sockets.of(type));
  if (TRY(network_of_socket(mine)) != fresh.network)
    return refuse("is of another network namespace than the system's, which is not supported yet");
  if (!may_have_error) TRY(check_for_errors(mine));

  auto usual = fresh.options.begin();
  for (const SocketOption& option : options_of(type)) {
    auto value = TRY(read_option(mine, option));
    if (bool same = value == *usual++; !value || same) continue;
    if (!option.can_be_set) return refuse(fmt::format("has {}, which is not supported yet", option.label));
    auto* entry = out.add_options();
    entry->set_level(option.level);
    entry->set_name(option.name);
    entry->set_value(*std::move(value));
  }
  TRY(read_buffers(mine, fresh, out));
  out.set_filter(TRY(read_filter(mine)));
  out.set_filter_locked(TRY(read_number(mine, SOL_SOCKET, SO_LOCK_FILTER)));
  return out;
}

namespace {

bool has_option(int fd, const State::Option& option) {
  auto value = read_option(fd, {option.level(), option.name(), ""});
  return value && *value == option.value();
}

// Some options can be set only before a socket is bound.
Result<> apply(int fd, const State& state, bool in_use) {
  TRY(apply_buffers(fd, state));
  for (const auto& option : state.options()) {
    if (in_use && has_option(fd, option)) continue;
    TRY(set_option(fd, option.level(), option.name(), option.value()));
  }
  if (!state.filter().empty()) TRY(attach_filter(fd, state.filter()));
  if (state.filter_locked()) TRY(set_number(fd, SOL_SOCKET, SO_LOCK_FILTER, 1));
  if (::fchown(fd, state.user(), state.group())) return fail_errno("fchown");
  if (::fcntl(fd, F_SETFL, static_cast<int>(state.flags()))) return fail_errno("F_SETFL");
  return {};
}

}  // namespace

Result<> apply_socket_state(int fd, const State& state) { return apply(fd, state, false); }
Result<Fd> make_socket_from(const std::string& record) {
  State state;
  if (!state.ParseFromString(record)) return fail("the image's record of a socket cannot be read");
  Fd fd = TRY(make_socket(type_of(state)));
  TRY(apply_socket_state(fd.get(), state));
  return fd;
}

Result<> change_socket_state(int fd, const State& state) { return apply(fd, state, true); }

Result<> with_wide_buffers(int fd, size_t send, size_t receive, const std::function<Result<>()>& work) {
  constexpr size_t kPerByte = 4, kLeast = 65536;  // of bookkeeping, at the most
  int locks = TRY(read_number(fd, SOL_SOCKET, kBufferLock));
  int send_before = TRY(read_number(fd, SOL_SOCKET, SO_SNDBUF)),
      receive_before = TRY(read_number(fd, SOL_SOCKET, SO_RCVBUF));
  auto set = [&](size_t for_send, size_t for_receive) -> Result<> {
    if (send) TRY(set_number(fd, SOL_SOCKET, SO_SNDBUFFORCE, static_cast<int>(for_send)));
    if (receive) TRY(set_number(fd, SOL_SOCKET, SO_RCVBUFFORCE, static_cast<int>(for_receive)));
    return {};
  };
  TRY(set(send * kPerByte + kLeast, receive * kPerByte + kLeast));
  TRY(work());
  TRY(set(static_cast<size_t>(send_before / 2), static_cast<size_t>(receive_before / 2)));
  return set_number(fd, SOL_SOCKET, kBufferLock, locks);
}

const std::string* find_option(const State& state, int level, int name) {
  for (const auto& option : state.options())
    if (option.level() == level && option.name() == name) return &option.value();
  return nullptr;
}

}  // namespace ks::engine
