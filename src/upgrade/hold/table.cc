// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/table.h"

#include <nftables/libnftables.h>

#include <map>
#include <string>
#include <utility>

#include "base/text.h"
#include "engine/engine.h"

namespace ks::upgrade {

namespace {

// Before any rule of others can answer. What the engine says to itself in the name of peers passes. Whoever connects
// to a port that waits, is not answered and tries again; what belongs to another connection of that port passes.
// Packets that are forwarded are none of ours.
constexpr char kTable[] = R"(table inet {name} {
  flags owner
  set flows4 { type inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service; }
  set flows6 { type inet_proto . ipv6_addr . inet_service . ipv6_addr . inet_service; }
  set bound4 { type inet_proto . ipv4_addr . inet_service; }
  set bound6 { type inet_proto . ipv6_addr . inet_service; }
  set ports4 { type inet_proto . inet_service; }
  set ports6 { type inet_proto . inet_service; }
  chain in {
    type filter hook input priority raw; policy accept;
    iif lo meta mark {mark} accept
    meta l4proto . ip daddr . th dport . ip saddr . th sport @flows4 drop
    meta l4proto . ip6 daddr . th dport . ip6 saddr . th sport @flows6 drop
    meta l4proto tcp tcp flags & (fin | syn | rst | ack) != syn accept
    meta l4proto . ip daddr . th dport @bound4 drop
    meta l4proto . ip6 daddr . th dport @bound6 drop
    meta nfproto ipv4 meta l4proto . th dport @ports4 drop
    meta nfproto ipv6 meta l4proto . th dport @ports6 drop
  }
  chain out {
    type filter hook output priority raw; policy accept;
    oif lo meta mark {mark} accept
    meta l4proto . ip saddr . th sport . ip daddr . th dport @flows4 drop
    meta l4proto . ip6 saddr . th sport . ip6 daddr . th dport @flows6 drop
  }
}
)";

// Under a name of its own, for the one that holds something lets nobody near.
constexpr char kName[] = "kernel_swap", kProbeName[] = "kernel_swap_probe";

std::string table_of(std::string_view name) {
  std::string text = kTable;
  auto fill_in = [&](std::string_view place, std::string_view value) {
    for (size_t at = 0; (at = text.find(place)) != text.npos;) text.replace(at, place.size(), value);
  };
  fill_in("{name}", name);
  fill_in("{mark}", std::to_string(engine::kOwnPackets));
  return text;
}

Result<> run(nft_ctx* context, const std::string& commands) {
  if (::nft_run_cmd_from_buffer(context, commands.c_str()) == 0) return {};
  // It repeats the command below its first line.
  std::string_view error = ::nft_ctx_get_error_buffer(context);
  return fail("nftables: " + std::string(trim(take_until(error, '\n'))));
}

}  // namespace

Result<HoldTable> HoldTable::create() {
  HoldTable table(::nft_ctx_new(NFT_CTX_DEFAULT));
  if (!table.context_ || ::nft_ctx_buffer_error(table.context_)) return fail("nftables: cannot be used");
  TRY(run(table.context_, table_of(kName)));
  return table;
}

Result<> HoldTable::probe() {
  HoldTable table(::nft_ctx_new(NFT_CTX_DEFAULT));
  if (!table.context_ || ::nft_ctx_buffer_error(table.context_)) return fail("nftables: cannot be used");
  ::nft_ctx_set_dry_run(table.context_, true);
  return run(table.context_, table_of(kProbeName));
}

HoldTable::HoldTable(HoldTable&& other) noexcept : context_(std::exchange(other.context_, nullptr)) {}

HoldTable::~HoldTable() {
  if (context_) ::nft_ctx_free(context_);
}

Result<> HoldTable::add(std::span<const SetMember> members) { return change("add", members); }

Result<> HoldTable::remove(std::span<const SetMember> members) { return change("delete", members); }

Result<> HoldTable::change(const char* verb, std::span<const SetMember> members) {
  std::map<std::string_view, std::string> keys;
  for (const SetMember& member : members) {
    std::string& list = keys[member.set];
    list += (list.empty() ? "" : ", ") + member.key;
  }
  std::string commands;
  for (const auto& [set, list] : keys)
    commands += std::string(verb) + " element inet " + kName + " " + std::string(set) + " { " + list + " }\n";
  return commands.empty() ? Result<>() : run(context_, commands);
}

}  // namespace ks::upgrade
