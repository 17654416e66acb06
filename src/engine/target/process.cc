// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/process.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/helper.h"
#include "base/text.h"

namespace ks::engine {

std::string proc_path(pid_t pid, std::string_view name) { return fmt::format("/proc/{}/{}", pid, name); }

std::string StoppedProcess::proc(std::string_view name) const { return proc_path(pid, name); }

std::string StoppedProcess::map_file(const Vma& area) const {
  return proc(fmt::format("map_files/{:x}-{:x}", area.start, area.end));
}

bool StoppedProcess::has_another_stop() const {
  return !threads.empty() && threads.front().stop_signal && status.shared_pending >> (SIGSTOP - 1) & 1;
}

const Vma* StoppedProcess::area_named(std::string_view path) const {
  auto found = std::ranges::find(areas, path, &Vma::path);
  return found == areas.end() ? nullptr : &*found;
}

Result<std::vector<DescriptorLink>> list_descriptors(pid_t pid) {
  std::string directory = proc_path(pid, "fd");
  Fd links = TRY(open_file(directory, O_PATH | O_DIRECTORY));
  std::vector<DescriptorLink> descriptors;
  for (const auto& name : TRY(list_directory(directory)))
    if (auto number = parse_number<int>(name)) descriptors.push_back({*number, ""});
  std::ranges::sort(descriptors, {}, &DescriptorLink::number);
  work_from_both_ends(descriptors.size(), [&](size_t at) {
    auto& [number, link] = descriptors[at];
    link = read_link_at(links.get(), std::to_string(number)).value_or("");
  });
  return descriptors;
}

Result<int64_t> boot_time() {
  std::string text = TRY(read_file("/proc/stat"));
  for (auto line : split(text, '\n'))
    if (auto words = split_words(line); words.size() == 2 && words[0] == "btime")
      return parse_number<int64_t>(words[1]).value_or(0);
  return fail("/proc/stat: does not tell when the system was booted");
}

int64_t start_of(const StatLine& process, int64_t boot_time) {
  return boot_time + static_cast<int64_t>(process.start_time) / ::sysconf(_SC_CLK_TCK);
}

}  // namespace ks::engine
