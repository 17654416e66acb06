// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/unit_name.h"

#include <algorithm>
#include <array>

namespace ks::upgrade {

namespace {

constexpr std::string_view kService = ".service";
constexpr std::array<std::string_view, 10> kOtherKinds = {".socket", ".target", ".timer", ".mount",  ".automount",
                                                          ".path",   ".slice",  ".scope", ".device", ".swap"};
constexpr size_t kLongest = 255;  // UNIT_NAME_MAX - 1 of systemd

bool allowed(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view(":-_.\\@").find(c) != std::string_view::npos;
}

}  // namespace

Result<std::string> parse_service_name(std::string_view word) {
  std::string name(word);
  for (std::string_view kind : kOtherKinds)
    if (name.ends_with(kind)) return fail(name + ": not a service; only services are carried over");
  if (!name.ends_with(kService)) name += kService;
  if (name.size() == kService.size() || name.size() > kLongest || !std::ranges::all_of(name, allowed) ||
      name.starts_with('@'))
    return fail("\"" + std::string(word) + "\": not a unit name");
  if (is_template(name)) return fail(name + ": a template; name an instance of it");
  return name;
}

bool is_template(std::string_view unit) { return unit.ends_with("@.service"); }

std::string template_of(std::string_view unit) {
  size_t at = unit.find('@');
  if (at == std::string_view::npos || !unit.ends_with(kService)) return {};
  return std::string(unit.substr(0, at + 1)) + std::string(kService);
}

}  // namespace ks::upgrade
