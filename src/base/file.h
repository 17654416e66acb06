// SPDX-License-Identifier: LGPL-2.1-or-later
// Whole files, links and directories. Every descriptor is born O_CLOEXEC; errors name the path.
#pragma once

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace ks {

Result<Fd> open_file(const std::string& path, int flags, mode_t mode = 0600);
Result<Fd> open_at(int directory, const std::string& name, int flags, mode_t mode = 0600);

Result<std::string> read_file(const std::string& path);
Result<std::string> read_file_at(int directory, const std::string& name);
Result<std::string> read_all(int fd, std::string_view what);
// A file of /proc that the kernel writes at once, as most: a read that leaves room has read all. (Lists, such as
// maps, come in pieces.)
Result<std::string> read_record(const std::string& path);
Result<std::string> read_record_at(int directory, const std::string& name);

// One write(2), as files of /proc, /sys and cgroups need it; the file must exist.
Result<> write_value(const std::string& path, std::string_view text);
Result<> write_all(int fd, std::span<const std::byte> bytes, std::string_view what);
Result<> write_all(int fd, std::string_view bytes, std::string_view what);
Result<> read_exactly(int fd, std::span<std::byte> bytes, std::string_view what);
Result<> read_exactly_at(int fd, std::span<std::byte> bytes, uint64_t offset, std::string_view what);

// Replaces `path` by rename(2): readers see the old content or the new, also after a power cut.
Result<> replace_file(const std::string& path, std::string_view content, mode_t mode);

Result<std::string> read_link(const std::string& path);
Result<std::string> read_link_at(int directory, const std::string& name);
// Names in the directory, without "." and "..", unsorted.
Result<std::vector<std::string>> list_directory(const std::string& path);
Result<> sync_directory(const std::string& path);
// A directory and all in it; what is not there is no error.
Result<> remove_tree(const std::string& path);

}  // namespace ks
