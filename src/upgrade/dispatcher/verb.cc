// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/dispatcher/verb.h"

#include <algorithm>
#include <array>

namespace ks::upgrade {

namespace {

constexpr std::string_view kVerb = "kernel-swap";

// Options of systemctl(1) whose value is the next word.
constexpr auto kWithValue = std::to_array<std::string_view>({"-t",           "-p",
                                                             "-P",           "-H",
                                                             "-M",           "-n",
                                                             "-o",           "-s",
                                                             "--type",       "--state",
                                                             "--property",   "--host",
                                                             "--machine",    "--lines",
                                                             "--output",     "--signal",
                                                             "--kill-whom",  "--kill-who",
                                                             "--kill-value", "--what",
                                                             "--job-mode",   "--root",
                                                             "--image",      "--preset-mode",
                                                             "--message",    "--boot-loader-entry",
                                                             "--timestamp",  "--when",
                                                             "--drop-in"});
// Options that change nothing for us.
constexpr auto kIgnored = std::to_array<std::string_view>(
    {"--no-pager", "-q", "--quiet", "--no-ask-password", "--system", "--full", "-l", "--no-legend"});

template <class List>
bool among(const List& list, std::string_view word) {
  return std::ranges::find(list, word) != list.end();
}

}  // namespace

Dispatch dispatch(const std::vector<std::string_view>& arguments) {
  size_t at = 0;
  while (at < arguments.size() && arguments[at].starts_with('-') && arguments[at] != "--")
    at += among(kWithValue, arguments[at]) ? 2 : 1;
  if (at >= arguments.size() || arguments[at] != kVerb) return {};

  Dispatch result{.ours = true, .arguments = {}, .error = {}};
  std::vector<std::string> options;
  for (size_t i = 0; i < at; ++i) {
    if (arguments[i] == "--dry-run")
      options.emplace_back(arguments[i]);
    else if (!among(kIgnored, arguments[i]) && result.error.empty())
      result.error = std::string(arguments[i]) + ": not an option of systemctl " + std::string(kVerb);
  }
  size_t rest = at + 1;
  if (rest == arguments.size() || arguments[rest].starts_with('-'))
    result.arguments.emplace_back("now");
  else
    result.arguments.emplace_back(arguments[rest++]);
  result.arguments.insert(result.arguments.end(), options.begin(), options.end());
  for (; rest < arguments.size(); ++rest) result.arguments.emplace_back(arguments[rest]);
  return result;
}

}  // namespace ks::upgrade
