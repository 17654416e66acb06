// SPDX-License-Identifier: LGPL-2.1-or-later
#include "portrait.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/proc.h"
#include "family.h"

namespace ks::test {

namespace {

using engine::Vma;

// Lines of /proc/PID/status that change by themselves.
constexpr std::array<std::string_view, 14> kVolatile = {
    "FDSize:",       "State:",   "TracerPid:", "VmPeak:",   "VmSize:", "VmHWM:",  "VmRSS:",
    "HugetlbPages:", "RssAnon:", "RssFile:",   "RssShmem:", "SigPnd:", "ShdPnd:", "SigQ:"};

std::string stable_status(std::string_view text) {
  std::string stable;
  for (auto line : split(text, '\n')) {
    bool moves = line.find("ctxt_switches:") != line.npos || line.starts_with("Vm") ||
                 std::ranges::any_of(kVolatile, [&](auto name) { return line.starts_with(name); });
    if (!moves || line.starts_with("VmLck:")) stable += std::string(line) + "\n";
  }
  return stable;
}

std::string stable_stat(std::string_view text, pid_t root) {
  auto parsed = engine::parse_stat(text);
  if (!parsed) return parsed.error().what;
  const auto& s = *parsed;
  return fmt::format(
      "{} {} {} {} tty {} code {:x} {:x} data {:x} {:x} brk {:x} stack {:x} args {:x} {:x} env {:x} {:x} exit {}",
      s.comm, s.pid == root ? 0 : s.ppid, s.pgrp, s.session, s.tty_nr, s.start_code, s.end_code, s.start_data,
      s.end_data, s.start_brk, s.start_stack, s.arg_start, s.arg_end, s.env_start, s.env_end, s.exit_signal);
}

bool is_one(const Vma& a, const Vma& b) {
  return a.end == b.start && a.path == b.path && a.protection == b.protection && a.shared == b.shared &&
         a.flags == b.flags && a.protection_key == b.protection_key &&
         (a.inode == 0 || a.offset + a.size() == b.offset);
}

// The kernel may join neighbours that are alike, and may have had reasons not to.
std::string stable_areas(std::string_view text) {
  auto parsed = engine::parse_smaps(text);
  if (!parsed) return parsed.error().what;
  std::vector<Vma> areas;
  for (auto& area : *parsed) {
    std::erase(area.flags, "sd");  // soft dirty
    std::erase(area.flags, "ac");  // was writable once: counted against the overcommit limit
    if (!areas.empty() && is_one(areas.back(), area))
      areas.back().end = area.end;
    else
      areas.push_back(area);
  }
  std::string stable;
  for (auto& area : areas) {
    if (area.path == "[stack]") area.start = 0;                      // grows
    if (area.path.starts_with("/dev/shm/")) area.path = "/dev/shm";  // shown is the first name, or the last
    stable += fmt::format("{:x}-{:x} {} {} {:x} {} [{}] key {}\n", area.start, area.end, area.protection,
                          area.shared ? "shared" : "private", area.inode ? area.offset : 0, area.path,
                          fmt::join(area.flags, " "), area.protection_key);
  }
  return stable;
}

std::string text_of(const std::string& path) {
  auto text = read_file(path);
  return text ? *text : "unreadable: " + text.error().what;
}
std::string link_of(const std::string& path) {
  auto target = read_link(path);
  return target ? *target : "unreadable: " + target.error().what;
}

char parsed_state(const std::string& stat) {
  auto parsed = engine::parse_stat(stat);
  return parsed ? parsed->state : '?';
}

std::string lines_of(std::string_view text, std::initializer_list<std::string_view> names) {
  std::string lines;
  for (auto line : split(text, '\n'))
    if (std::ranges::any_of(names, [&](auto name) { return line.starts_with(name); }))
      lines += std::string(line) + "\n";
  return lines;
}

std::vector<std::string> names_in(const std::string& directory) {
  auto names = list_directory(directory);
  return names ? *names : std::vector<std::string>{};
}

// Anonymous objects have new numbers after a restore: what counts is who shares them.
class Numbers {
 public:
  std::string stable(const std::string& link) {
    // Under which name a deleted file was known once is not for certain when another has that name now.
    if (link.starts_with('/') && !link.starts_with("/memfd:") && link.ends_with(" (deleted)"))
      return link.substr(0, link.rfind('/')) + " (deleted)";
    if (!link.starts_with("pipe:[") && !link.starts_with("socket:[")) return link;
    auto [at, fresh] = known_.try_emplace(link, known_.size());
    return fmt::format("{} #{}", link.substr(0, link.find(':')), at->second);
  }

  // Our own keep theirs.
  std::string stable_namespace(const std::string& link, const std::string& name) {
    if (link == link_of("/proc/self/" + name)) return link;
    auto [at, fresh] = known_.try_emplace(link, known_.size());
    return fmt::format("{} #{}", name, at->second);
  }

 private:
  std::map<std::string, size_t> known_;
};

std::string stable_fdinfo(std::string_view text) {
  std::vector<std::string> entries;  // of an epoll, in the order of addresses in the kernel
  std::string stable;
  for (auto line : split(text, '\n')) {
    if (line.starts_with("tfd:"))
      entries.emplace_back(line.substr(0, line.find(" pos:")));
    else if (!line.starts_with("ino:") && !line.starts_with("mnt_id:") && !line.starts_with("eventfd-id:"))
      stable += std::string(line) + "\n";
  }
  std::ranges::sort(entries);
  for (const auto& entry : entries) stable += entry + "\n";
  return stable;
}

Portrait portray_once(pid_t root) {
  Portrait portrait;
  Numbers numbers;
  std::vector<pid_t> pids = descendants(root);
  pids.insert(pids.begin(), root);
  std::ranges::sort(pids);
  for (pid_t pid : pids) {
    std::string process = fmt::format("/proc/{}/", pid), name = fmt::format("{}/", pid);
    portrait[name + "stat"] = stable_stat(text_of(process + "stat"), root);
    if (parsed_state(text_of(process + "stat")) == 'Z') {
      portrait[name + "ids"] = lines_of(text_of(process + "status"), {"Uid:", "Gid:"});
      continue;
    }
    portrait[name + "smaps"] = stable_areas(text_of(process + "smaps"));
    for (const char* file : {"cmdline", "environ", "auxv", "limits", "oom_score_adj", "personality",
                             "coredump_filter", "loginuid", "cgroup"})
      portrait[name + file] = text_of(process + file);
    for (const char* link : {"exe", "cwd", "root"}) portrait[name + link] = link_of(process + link);
    for (const char* space : {"ns/mnt", "ns/uts", "ns/ipc", "ns/net", "ns/pid", "ns/user", "ns/cgroup"})
      portrait[name + space] = numbers.stable_namespace(link_of(process + space), space);
    auto fds = names_in(process + "fd");
    std::ranges::sort(fds, {}, [](const auto& fd) { return std::pair(fd.size(), fd); });
    for (const auto& fd : fds)
      portrait[name + "fd/" + fd] =
          numbers.stable(link_of(process + "fd/" + fd)) + "\n" + stable_fdinfo(text_of(process + "fdinfo/" + fd));
    for (const auto& tid : names_in(process + "task")) {
      std::string thread = process + "task/" + tid + "/", key = name + "task/" + tid + "/";
      portrait[key + "comm"] = text_of(thread + "comm");
      std::string status = text_of(thread + "status");
      if (pid == root) {  // who inherits it differs
        size_t parent = status.find("PPid:");
        if (parent != status.npos) status.erase(parent, status.find('\n', parent) - parent);
      }
      portrait[key + "status"] = stable_status(status);
      portrait[key + "timerslack"] = text_of("/proc/" + tid + "/timerslack_ns");
      auto sched = text_of(thread + "sched");
      portrait[key + "policy"] = sched.substr(std::min(sched.find("policy"), sched.size()), 100);
    }
  }
  return portrait;
}

}  // namespace

Portrait portray(pid_t root) {
  Portrait portrait = portray_once(root);
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(5ms);
    Portrait again = portray_once(root);
    if (again == portrait) break;
    portrait = std::move(again);
  }
  return portrait;
}

std::string differences(const Portrait& before, const Portrait& after) {
  std::string text;
  Portrait all = before;
  all.insert(after.begin(), after.end());
  for (const auto& [key, unused] : all) {
    auto was = before.find(key), is = after.find(key);
    if (was == before.end()) {
      text += key + " is new\n";
    } else if (is == after.end()) {
      text += key + " is gone\n";
    } else if (was->second != is->second) {
      auto old_lines = split(was->second, '\n'), new_lines = split(is->second, '\n');
      text += key + ":\n";
      for (auto line : old_lines)
        if (std::ranges::find(new_lines, line) == new_lines.end()) text += "  - " + std::string(line) + "\n";
      for (auto line : new_lines)
        if (std::ranges::find(old_lines, line) == old_lines.end()) text += "  + " + std::string(line) + "\n";
    }
  }
  return text;
}

}  // namespace ks::test
