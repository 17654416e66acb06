// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/generic_netlink.h"

#include <linux/genetlink.h>
#include <linux/rtnetlink.h>

#include <cstring>
#include <vector>

#include "engine/kernel/netlink.h"

namespace ks::engine {

namespace {

constexpr genlmsghdr kGetFamily{.cmd = CTRL_CMD_GETFAMILY, .version = 2, .reserved = 0};

std::string text_of(std::span<const std::byte> value) {
  auto* text = reinterpret_cast<const char*>(value.data());
  return {text, ::strnlen(text, value.size())};
}

}  // namespace

void add_family(std::span<const std::byte> answer, GenericNumbers& out) {
  std::string family;
  uint32_t number = 0;
  std::map<std::string, uint32_t> groups;
  auto take_group = [&](uint16_t, std::span<const std::byte> group) {
    std::string name;
    uint32_t id = 0;
    each_attribute(group, [&](uint16_t type, std::span<const std::byte> value) {
      if ((type & NLA_TYPE_MASK) == CTRL_ATTR_MCAST_GRP_NAME) name = text_of(value);
      if ((type & NLA_TYPE_MASK) == CTRL_ATTR_MCAST_GRP_ID) id = head_of<uint32_t>(value);
    });
    groups[name] = id;
  };
  each_attribute(answer.subspan(std::min<size_t>(answer.size(), GENL_HDRLEN)),
                 [&](uint16_t type, std::span<const std::byte> value) {
                   if ((type & NLA_TYPE_MASK) == CTRL_ATTR_FAMILY_NAME) family = text_of(value);
                   if ((type & NLA_TYPE_MASK) == CTRL_ATTR_FAMILY_ID) number = head_of<uint16_t>(value);
                   if ((type & NLA_TYPE_MASK) == CTRL_ATTR_MCAST_GROUPS) each_attribute(value, take_group);
                 });
  if (family.empty()) return;
  out.families[family] = number;
  for (const auto& [name, id] : groups) out.groups[family + "/" + name] = id;
}

Result<GenericNumbers> generic_numbers() {
  GenericNumbers numbers;
  TRY(in("families of generic netlink",
         ask_netlink(NETLINK_GENERIC, GENL_ID_CTRL, NLM_F_DUMP, std::as_bytes(std::span(&kGetFamily, 1)),
                     [&](auto answer) { add_family(answer, numbers); })));
  return numbers;
}

void load_generic_family(const std::string& name) {
  rtattr attribute{.rta_len = static_cast<uint16_t>(RTA_LENGTH(name.size() + 1)), .rta_type = CTRL_ATTR_FAMILY_NAME};
  std::vector<std::byte> request(GENL_HDRLEN + RTA_SPACE(name.size() + 1));
  std::memcpy(request.data(), &kGetFamily, sizeof kGetFamily);
  std::memcpy(request.data() + GENL_HDRLEN, &attribute, sizeof attribute);
  std::memcpy(request.data() + GENL_HDRLEN + RTA_LENGTH(0), name.c_str(), name.size() + 1);
  (void)ask_netlink(NETLINK_GENERIC, GENL_ID_CTRL, 0, request, [](auto) {});
}

}  // namespace ks::engine
