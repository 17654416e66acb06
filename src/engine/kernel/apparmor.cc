// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/apparmor.h"

#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

std::string profile_of(std::string_view label) {
  std::string_view text = trim(label.substr(0, label.find('\0')));
  if (text == "unconfined") return "";
  if (size_t mode = text.rfind(" ("); mode != text.npos && text.ends_with(')')) text = text.substr(0, mode);
  return std::string(text);
}

namespace {

// Nothing: what is not set, and all of a module that is not in use, fails with EINVAL.
Result<std::optional<std::string>> read_profile(const std::string& directory, const char* name) {
  auto label = read_record(directory + name);
  if (label) return profile_of(*label);
  if (label.error().code == ENOENT || label.error().code == EINVAL) return std::nullopt;
  return std::unexpected(label.error());
}

}  // namespace

Result<std::optional<AppArmorState>> apparmor_state(pid_t pid, pid_t tid) {
  std::string directory = fmt::format("/proc/{}/task/{}/attr/apparmor/", pid, tid);
  auto current = TRY(read_profile(directory, "current"));
  if (!current) return std::nullopt;
  return AppArmorState{.profile = *current,
                       .previous = TRY(read_profile(directory, "prev")).value_or(""),
                       .at_exec = TRY(read_profile(directory, "exec")).value_or("")};
}

std::string why_not_enterable(const AppArmorState& state) {
  if (!state.previous.empty()) return fmt::format("is in a hat of \"{}\" (AppArmor)", state.previous);
  if (!state.at_exec.empty())
    return fmt::format("is to be confined as \"{}\" once it executes a program", state.at_exec);
  if (state.profile.starts_with(':') || state.profile.find("//&") != std::string::npos)
    return fmt::format("is confined as \"{}\", of more than one profile or of a namespace of AppArmor",
                       state.profile);
  return "";
}

}  // namespace ks::engine
