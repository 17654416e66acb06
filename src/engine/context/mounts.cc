// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/mounts.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    auto code = text[i] == '\\' && i + 3 < text.size() ? parse_number<unsigned>(text.substr(i + 1, 3), 8) : std::nullopt;
    plain += code ? static_cast<char>(*code) : text[i];
    if (code) i += 3;
  }
  return plain;
}

Result<std::set<Mount>> mounts_of(pid_t pid) {
  auto mounts = TRY(parse_mountinfo(TRY(read_file(proc_path(pid, "mountinfo")))));
  return std::set<Mount>(mounts.begin(), mounts.end());
}

}  // namespace

Result<std::vector<Mount>> parse_mountinfo(std::string_view text) {
  std::vector<Mount> mounts;
  for (auto line : split(text, '\n')) {
    auto words = split_words(line);
    auto separator = std::ranges::find(words, "-");
    if (words.size() < 7 || separator == words.end() || separator + 1 == words.end())
      return fail("mountinfo: not understood: " + std::string(line));
    mounts.push_back({.where = unescape(words[4]), .type = std::string(*(separator + 1))});
  }
  return mounts;
}

Result<std::vector<Mount>> private_mounts(pid_t pid) {
  std::vector<Mount> mounts;
  auto ours = TRY(mounts_of(::getpid())), its = TRY(mounts_of(pid));
  std::ranges::set_difference(its, ours, std::back_inserter(mounts));
  return mounts;
}

Result<> check_mounts(pid_t pid, const std::vector<Mount>& mounts) {
  auto seen = TRY(mounts_of(pid));
  for (const Mount& mount : mounts)
    if (!seen.contains(mount)) return fail(mount.where + ": the " + mount.type + " mount that the processes had is missing");
  return {};
}

}  // namespace ks::engine
