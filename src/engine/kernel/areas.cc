// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>

#include "base/text.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

namespace {

// The kernel escapes the newline and not the backslash, so any other "\ooo" is part of the name.
std::string unescape(std::string_view path) {
  constexpr std::string_view kNewline = "\\012";
  std::string plain;
  plain.reserve(path.size());
  for (size_t at = path.find(kNewline); at != std::string_view::npos; at = path.find(kNewline)) {
    plain.append(path.substr(0, at)).push_back('\n');
    path.remove_prefix(at + kNewline.size());
  }
  return plain.append(path);
}

bool parse_permissions(std::string_view text, Vma& area) {
  constexpr std::string_view kLetters = "rwx";
  constexpr int kBits[] = {PROT_READ, PROT_WRITE, PROT_EXEC};
  if (text.size() != 4) return false;
  for (size_t i = 0; i < kLetters.size(); ++i) {
    if (text[i] == kLetters[i])
      area.protection |= kBits[i];
    else if (text[i] != '-')
      return false;
  }
  area.shared = text[3] == 's';
  return area.shared || text[3] == 'p';
}

// "7f00-7f01 r-xp 00000000 08:01 1234    /usr/bin/x"
bool parse_area(std::string_view line, Vma& area) {
  bool good =
      read_number(take_until(line, '-'), area.start, 16) && read_number(take_until(line, ' '), area.end, 16) &&
      parse_permissions(take_until(line, ' '), area) && read_number(take_until(line, ' '), area.offset, 16) &&
      read_number(take_until(line, ':'), area.device_major, 16) &&
      read_number(take_until(line, ' '), area.device_minor, 16) && read_number(take_until(line, ' '), area.inode, 10);
  if (!good || area.start >= area.end) return false;
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  area.path = unescape(line);
  return true;
}

// "VmFlags: rd wr mr": only the lines that we keep are looked into.
bool parse_attribute(std::string_view line, Vma& area) {
  std::string_view value = line;
  std::string_view key = take_until(value, ':');
  if (key.size() == line.size()) return false;
  if (key == "VmFlags") {
    area.flags.reserve(value.size() / 3);
    for (std::string_view flag : split_words(value)) area.flags.emplace_back(flag);
  } else if (key == "ProtectionKey") {
    return read_number(trim(value), area.protection_key);
  } else if (key == "KernelPageSize" || key == "Rss" || key == "Swap" || key.starts_with("Shared_") ||
             key == "Private_Hugetlb") {
    uint64_t kilobytes = 0;
    value = trim(value);
    if (!read_number(take_until(value, ' '), kilobytes) || value != "kB") return false;
    uint64_t bytes = kilobytes * 1024;
    if (key == "KernelPageSize") area.page_bytes += bytes;
    // Rss leaves out what hugetlbfs has.
    if (key == "Rss" || key == "Swap" || key.ends_with("_Hugetlb")) area.populated += bytes;
    if (key == "Swap" || key.starts_with("Shared_")) area.shared_bytes += bytes;
  }
  return true;
}

// The line of an area begins with a number, that of an attribute with a capital.
bool begins_area(std::string_view line) {
  return !line.empty() && ((line[0] >= '0' && line[0] <= '9') || (line[0] >= 'a' && line[0] <= 'f'));
}

Result<std::vector<Vma>> parse_areas(std::string_view text, bool with_attributes) {
  std::vector<Vma> areas;
  for (size_t number = 1; !text.empty(); ++number) {
    std::string_view line = take_until(text, '\n');
    bool good = false;
    if (begins_area(line) || !with_attributes) {
      uint64_t last_end = areas.empty() ? 0 : areas.back().end;
      good = parse_area(line, areas.emplace_back()) && areas.back().start >= last_end;
    } else {
      good = !areas.empty() && parse_attribute(line, areas.back());
    }
    if (!good) return fail(fmt::format("line {}: cannot be read: \"{:.80}\"", number, line));
  }
  return areas;
}

}  // namespace

bool Vma::has(std::string_view flag) const { return std::ranges::find(flags, flag) != flags.end(); }

// VmFlags come in the order of bits: what has no letters and stands right behind these six, in an area that is
// locked, is VM_LOCKONFAULT (fs/proc/task_mmu.c). A second one without letters stays what it is: unknown.
void name_lock_on_fault(std::vector<Vma>& areas) {
  constexpr std::string_view kBefore[] = {"lo", "io", "sr", "rr", "dc", "de"};
  for (Vma& area : areas) {
    auto at = std::ranges::find(area.flags, kNameless);
    if (at == area.flags.begin() || at == area.flags.end() || !area.has("lo")) continue;
    bool alone = std::find(at + 1, area.flags.end(), kNameless) == area.flags.end();
    if (alone && std::ranges::find(kBefore, std::string_view(at[-1])) != std::end(kBefore)) *at = "lf";
  }
}

Result<std::vector<Vma>> parse_smaps(std::string_view text) { return parse_areas(text, true); }
Result<std::vector<Vma>> parse_maps(std::string_view text) { return parse_areas(text, false); }

}  // namespace ks::engine
