// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/keeper.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "upgrade/hold/message.h"

namespace ks::upgrade {

namespace {

// Whoever has us started asks for something soon.
constexpr int64_t kIdleMilliseconds = 30'000;
// Nobody keeps us from our deadline.
constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0};

int64_t now_milliseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

Result<> Holdings::hold(const std::string& unit, std::span<const std::string> lines) {
  std::vector<SetMember> members;
  std::set<std::string_view> fresh;
  for (const std::string& line : lines) {
    SetMember member = set_member(TRY(parse_held_socket(line)));
    if (!uses_.contains(line) && fresh.insert(line).second) members.push_back(std::move(member));
  }
  if (lines.empty()) return {};
  if (!table_) table_.emplace(TRY(HoldTable::create()));
  TRY(table_->add(members));
  for (const std::string& line : lines) {
    ++uses_[line];
    units_[unit].push_back(line);
  }
  return {};
}

Result<> Holdings::lift(const std::string& unit) {
  auto held = units_.find(unit);
  if (held == units_.end()) return {};
  std::vector<SetMember> members;
  for (const std::string& line : held->second) {
    auto uses = uses_.find(line);
    if (--uses->second > 0) continue;
    uses_.erase(uses);
    members.push_back(set_member(TRY(parse_held_socket(line))));
  }
  units_.erase(held);
  if (units_.empty()) {
    lift_all();
    return {};
  }
  return table_->remove(members);
}

void Holdings::lift_all() {
  units_.clear();
  uses_.clear();
  table_.reset();
}

Result<Keeper> Keeper::open(const std::string& path, Holdings holdings) {
  sockaddr_un address = TRY(socket_address(path));
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return fail_errno("socket");
  if (::unlink(path.c_str()) && errno != ENOENT) return fail_errno(path);
  // connect(2) needs write permission: root's alone.
  mode_t before = ::umask(0177);
  int bound = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  ::umask(before);
  if (bound) return fail_errno(path);
  if (::listen(listener.get(), SOMAXCONN)) return fail_errno(path);
  return Keeper(std::move(listener), std::move(holdings));
}

Result<> Keeper::serve(uint64_t limit_seconds) {
  const int64_t start = now_milliseconds(), deadline = start + static_cast<int64_t>(limit_seconds) * 1000;
  bool used = !holdings_.empty();
  while (!ended_) {
    bool busy = !holdings_.empty() || !clients_.empty();
    used |= busy;
    if (used && !busy) return {};
    int64_t left = (used ? deadline : start + kIdleMilliseconds) - now_milliseconds();
    if (left <= 0) {
      holdings_.lift_all();
      return used ? fail(fmt::format("limit of {} s reached", limit_seconds)) : Result<>();
    }
    std::vector<pollfd> polls = {{listener_.get(), POLLIN, 0}};
    for (const Client& client : clients_) polls.push_back({client.fd.get(), POLLIN, 0});
    int ready = ::poll(polls.data(), polls.size(), static_cast<int>(std::min<int64_t>(left, INT_MAX)));
    if (ready < 0 && errno != EINTR) return fail_errno("poll");
    if (ready <= 0) continue;
    for (size_t i = clients_.size(); i > 0; --i) {
      if (!polls[i].revents || answer(clients_[i - 1])) continue;
      std::vector<std::string> units = std::move(clients_[i - 1].units);
      clients_.erase(clients_.begin() + static_cast<ptrdiff_t>(i - 1));
      for (const std::string& unit : units) TRY(holdings_.lift(unit));
    }
    if (polls[0].revents) accept();
  }
  return {};
}

void Keeper::accept() {
  Client client{.fd = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), .units = {}};
  if (!client.fd) return;
  for (int option : {SO_RCVTIMEO, SO_SNDTIMEO})
    ::setsockopt(client.fd.get(), SOL_SOCKET, option, &kPatience, sizeof kPatience);
  clients_.push_back(std::move(client));
}

bool Keeper::answer(Client& client) {
  auto request = receive_text(client.fd.get());
  if (!request) return false;
  auto done = obey(client, *request);
  return send_text(client.fd.get(), done ? "" : done.error().what).has_value();
}

Result<> Keeper::obey(Client& client, const std::string& request) {
  auto lines = split(request, '\n');
  auto words = lines.empty() ? std::vector<std::string_view>() : split_words(lines[0]);
  std::string_view verb = words.empty() ? "" : words[0];
  std::string unit(words.size() == 2 ? words[1] : "");
  if (verb == "hold" && !unit.empty()) {
    TRY(holdings_.hold(unit, std::vector<std::string>(lines.begin() + 1, lines.end())));
    client.units.push_back(unit);
    return {};
  }
  if (verb == "lift" && !unit.empty()) {
    std::erase(client.units, unit);
    return holdings_.lift(unit);
  }
  if (verb == "keep") {
    client.units.clear();
    return {};
  }
  if (verb == "end") {
    holdings_.lift_all();
    ended_ = true;
    return {};
  }
  return fail("unknown request: " + std::string(lines.empty() ? "" : lines[0]));
}

}  // namespace ks::upgrade
