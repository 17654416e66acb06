// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/command.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace ks::upgrade {

namespace {

constexpr std::string_view kNoEnvExpand = "no-env-expand";
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kPrefixes = {
    {{"ignore-failure", "-"}, {kNoEnvExpand, ":"}, {"privileged", "+"}, {"no-setuid", "!"}, {"ambient", "!!"}}};

}  // namespace

std::string quote_word(std::string_view word) {
  std::string quoted = "\"";
  for (char c : word) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += {'\\', c};
    else if (c == '%')
      quoted += "%%";  // a specifier otherwise
    else if (byte < 0x20 || byte == 0x7f)
      quoted += fmt::format("\\x{:02x}", byte);
    else
      quoted += c;
  }
  return quoted + "\"";
}

Result<std::string> placeholder_command_line(const Command& original, std::string_view placeholder) {
  std::string line;
  for (const std::string& flag : original.flags) {
    auto known = std::ranges::find(kPrefixes, flag, [](const auto& pair) { return std::string_view(pair.first); });
    if (known == kPrefixes.end()) return fail(fmt::format("ExecStart= has an unknown flag \"{}\"", flag));
    line += known->second;
  }
  line += placeholder;

  // systemd expands variables in arguments but never in the path; ours is an argument now.
  bool expands = std::ranges::find(original.flags, kNoEnvExpand) == original.flags.end();
  std::string path;
  for (char c : original.path) path += expands && c == '$' ? std::string("$$") : std::string(1, c);
  line += " " + quote_word(path);
  for (const std::string& argument : original.arguments) line += " " + quote_word(argument);
  return line;
}

}  // namespace ks::upgrade
