// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/kernels.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "base/text.h"

namespace ks::upgrade {

namespace {

constexpr std::string_view kImagePrefix = "vmlinuz-";

bool digit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }

// deb-version(7): "~" before the end, the end before letters, letters before the rest.
int rank(std::string_view text, size_t at) {
  if (at == text.size() || digit(text[at])) return 0;
  char c = text[at];
  if (c == '~') return -1;
  return std::isalpha(static_cast<unsigned char>(c)) ? c : c + 256;
}

std::string_view take_digits(std::string_view text, size_t& at) {
  size_t end = at;
  while (end < text.size() && digit(text[end])) ++end;
  std::string_view digits = text.substr(at, end - at);
  at = end;
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits;
}

}  // namespace

int compare_versions(std::string_view left, std::string_view right) {
  size_t l = 0, r = 0;
  while (l < left.size() || r < right.size()) {
    while ((l < left.size() && !digit(left[l])) || (r < right.size() && !digit(right[r]))) {
      if (int order = rank(left, l) - rank(right, r)) return order;
      ++l, ++r;
    }
    std::string_view one = take_digits(left, l), other = take_digits(right, r);
    if (one.size() != other.size()) return one.size() < other.size() ? -1 : 1;
    if (int order = one.compare(other)) return order;
  }
  return 0;
}

std::vector<std::string> kernel_versions(const std::vector<std::string>& names_in_boot) {
  std::vector<std::string> versions;
  for (const std::string& name : names_in_boot) {
    bool leftover = name.ends_with(".old") || name.ends_with(".bak") || name.ends_with(".dpkg-tmp");
    if (name.starts_with(kImagePrefix) && name.size() > kImagePrefix.size() && !leftover)
      versions.push_back(name.substr(kImagePrefix.size()));
  }
  std::ranges::sort(versions, [](const auto& l, const auto& r) { return compare_versions(l, r) < 0; });
  return versions;
}

Result<KernelImage> installed_kernel(std::string_view version, const std::string& boot) {
  auto versions = kernel_versions(TRY(list_directory(boot)));
  if (versions.empty()) return fail(boot + ": no kernel is installed (no vmlinuz-VERSION)");
  KernelImage kernel{.version = version.empty() ? versions.back() : std::string(version)};
  if (!std::ranges::count(versions, kernel.version)) {
    std::string known;
    for (const std::string& one : versions) known += (known.empty() ? "" : ", ") + one;
    return fail(kernel.version + ": no such kernel in " + boot + " (there are " + known + ")");
  }
  kernel.image = boot + "/" + std::string(kImagePrefix) + kernel.version;
  std::string initrd = boot + "/initrd.img-" + kernel.version;
  if (::access(initrd.c_str(), F_OK) == 0) kernel.initrd = initrd;
  return kernel;
}

std::string next_command_line(std::string_view running, std::string_view append) {
  std::string line;
  for (std::string_view word : split_words(running)) {
    if (word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=")) continue;
    if (!line.empty()) line += ' ';
    line += word;
  }
  append = trim(append);
  if (!append.empty() && !line.empty()) line += ' ';
  return line.append(append);
}

}  // namespace ks::upgrade
