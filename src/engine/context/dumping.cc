// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/dumping.h"

#include <algorithm>

#include "base/file.h"

namespace ks::engine {

int Dumping::number_of(pid_t pid, uint32_t file) const {
  auto table = descriptors.find(pid);
  if (table == descriptors.end()) return -1;
  auto found = std::ranges::find(table->second, file, &DumpedDescriptor::file);
  return found == table->second.end() ? -1 : found->number;
}

const OpenFile* Dumping::file_at(pid_t pid, int number) const {
  auto table = descriptors.find(pid);
  if (table == descriptors.end()) return nullptr;
  auto found = std::ranges::lower_bound(table->second, number, {}, &DumpedDescriptor::number);
  return found == table->second.end() || found->number != number ? nullptr : &open_files[found->file];
}

Result<uint32_t> Dumping::mapped_file(const std::string& link, bool shared, bool writable) {
  std::string path = TRY(read_link(link));
  auto carried = TRY(carried_files.add(mounts.root.get(), link, {.writable = writable, .changes_show = shared}));
  return mapped_files.add(mounts, link, path, writable, carried);
}

}  // namespace ks::engine
