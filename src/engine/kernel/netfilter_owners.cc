// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/netfilter_owners.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <array>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/netlink.h"

namespace ks::engine {

namespace {

Result<> add_owners_of_tables(std::set<uint32_t>& owners) {
  nfgenmsg request{.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0, .res_id = 0};
  auto take = [&](std::span<const std::byte> answer) {
    each_attribute(answer.subspan(std::min(answer.size(), sizeof request)), [&](uint16_t type, auto value) {
      if ((type & NLA_TYPE_MASK) == NFTA_TABLE_OWNER) owners.insert(ntohl(head_of<uint32_t>(value)));
    });
  };
  auto asked = ask_netlink(NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP,
                           std::as_bytes(std::span(&request, 1)), take);
  // A kernel without nftables has none.
  if (!asked && (asked.error().code == EINVAL || asked.error().code == EOPNOTSUPP)) return {};
  return asked;
}

}  // namespace

std::set<uint32_t> parse_owners(std::string_view text) {
  std::set<uint32_t> owners;
  for (std::string_view line : split(text, '\n')) {
    auto words = split_words(line);
    if (auto port = words.size() > 1 ? parse_number<uint32_t>(words[1]) : std::nullopt) owners.insert(*port);
  }
  return owners;
}

Result<std::set<uint32_t>> netfilter_owners() {
  std::set<uint32_t> owners;
  for (const char* list : {"nfnetlink_queue", "nfnetlink_log"}) {
    auto text = read_file(std::string("/proc/net/netfilter/") + list);
    if (!text && text.error().code != ENOENT) return std::unexpected(text.error());
    if (text) owners.merge(parse_owners(*text));
  }
  TRY(add_owners_of_tables(owners));
  return owners;
}

}  // namespace ks::engine
