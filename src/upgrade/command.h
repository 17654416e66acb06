// SPDX-License-Identifier: LGPL-2.1-or-later
// A command line of a unit, as systemd tells it over D-Bus and as a unit file spells it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

// One entry of the property ExecStartEx (org.freedesktop.systemd1(5)): specifiers are expanded, variables are
// not.
struct Command {
  std::string path;
  std::vector<std::string> arguments;  // the first is the name that the program sees, '@' or not
  std::vector<std::string> flags;      // "ignore-failure", "privileged", "no-setuid", "ambient", "no-env-expand"
};

// A word that systemd's parser reads back as `word`, specifiers included.
std::string quote_word(std::string_view word);

// The value of an ExecStart= that starts `placeholder`, with the original prefixes, and hands it the original
// path and arguments. Variables are expanded by systemd as they were for the original. A flag we do not know
// is an error.
Result<std::string> placeholder_command_line(const Command& original, std::string_view placeholder);

}  // namespace ks::upgrade
