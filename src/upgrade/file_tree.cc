// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/file_tree.h"

#include <fmt/core.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/fd.h"
#include "base/file.h"
#include "upgrade/checksum.h"

namespace ks::upgrade {

namespace {

constexpr size_t kPiece = 64 << 10;
constexpr uint64_t kUnchangeable = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND;

// For calls that take no O_PATH descriptor; leads to the very same inode.
std::string by_descriptor(const Fd& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

using Inode = std::pair<dev_t, uint64_t>;

struct Entry {
  std::string path;  // below the top, for messages
  Fd file;           // O_PATH
  struct statx status{};

  mode_t type() const { return status.stx_mode & S_IFMT; }
  bool has_other_names() const { return type() != S_IFDIR && status.stx_nlink > 1; }
  Inode inode() const { return {makedev(status.stx_dev_major, status.stx_dev_minor), status.stx_ino}; }
  dev_t device() const { return makedev(status.stx_rdev_major, status.stx_rdev_minor); }
};

Result<Entry> open_entry(int directory, const std::string& name, const std::string& path, int flags) {
  auto file = open_at(directory, name, O_PATH | flags);
  if (!file) return fail_errno(path, file.error().code);
  Entry entry{.path = path, .file = std::move(*file)};
  constexpr unsigned kWanted = STATX_BASIC_STATS | STATX_MNT_ID;
  if (::statx(entry.file.get(), "", AT_EMPTY_PATH, kWanted, &entry.status)) return fail_errno(path);
  return entry;
}

// `directory` may lead through /proc/self/fd, where there are links.
Result<Entry> open_top(const std::string& directory) {
  return open_entry(AT_FDCWD, directory, directory, O_DIRECTORY);
}

// A copy is named as what it is of, elsewhere.
std::string below(const Entry& entry, const Entry& top) { return entry.path.substr(top.path.size() + 1); }

// One after the other, in the order of their names.
template <class See>
Result<> each_entry(const Entry& directory, See see) {
  auto names = TRY(in(directory.path, list_directory(by_descriptor(directory.file))));
  std::ranges::sort(names);
  for (const std::string& name : names) {
    auto entry = open_entry(directory.file.get(), name, directory.path + "/" + name, O_NOFOLLOW);
    if (!entry && entry.error().code == ENOENT) continue;  // removed since
    if (!entry) return std::unexpected(entry.error());
    if (entry->status.stx_mnt_id == directory.status.stx_mnt_id) TRY(see(*entry));
  }
  return {};
}

Result<std::string> link_target(const Entry& link) {
  std::string target(PATH_MAX, '\0');
  ssize_t length = ::readlinkat(link.file.get(), "", target.data(), target.size());
  if (length < 0) return fail_errno(link.path);
  target.resize(static_cast<size_t>(length));
  return target;
}

// Those of a symbolic link, which only security modules use, are left to them.
Result<std::map<std::string, std::string>> attributes_of(const Entry& entry) {
  std::map<std::string, std::string> attributes;
  if (entry.type() == S_IFLNK) return attributes;
  std::string path = by_descriptor(entry.file);
  std::string names(XATTR_LIST_MAX, '\0'), value(XATTR_SIZE_MAX, '\0');
  ssize_t length = ::listxattr(path.c_str(), names.data(), names.size());
  if (length < 0 && errno == EOPNOTSUPP) return attributes;
  if (length < 0) return fail_errno(entry.path + ": extended attributes");
  for (size_t at = 0; at < static_cast<size_t>(length); at += std::char_traits<char>::length(&names[at]) + 1) {
    const char* name = &names[at];
    ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
    if (size < 0) return fail_errno(fmt::format("{}: {}", entry.path, name));
    attributes.emplace(name, value.substr(0, static_cast<size_t>(size)));
  }
  return attributes;
}

// Calls `take(offset, bytes)` for all that is neither a hole nor a piece of zeros.
template <class Take>
Result<> read_contents(const Entry& entry, Take take) {
  Fd file = TRY(in(entry.path, open_file(by_descriptor(entry.file), O_RDONLY | O_NOATIME)));
  std::string piece(kPiece, '\0');
  const auto size = static_cast<off_t>(entry.status.stx_size);
  for (off_t at = 0; at < size;) {
    off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole up to the end
    if (data < 0) return fail_errno(entry.path);
    at = std::max(at, data / static_cast<off_t>(kPiece) * static_cast<off_t>(kPiece));
    ssize_t got = ::pread(file.get(), piece.data(), piece.size(), at);
    if (got < 0) return fail_errno(entry.path);
    if (got == 0) break;  // cut short since
    std::string_view bytes(piece.data(), std::min(static_cast<size_t>(got), static_cast<size_t>(size - at)));
    if (bytes.find_first_not_of('\0') != std::string_view::npos) TRY(take(at, bytes));
    at += got;
  }
  return {};
}

// Calls `see` for the entry and then for everything below it.
template <class See>
Result<> walk(const Entry& entry, See& see) {
  TRY(see(entry));
  if (entry.type() != S_IFDIR) return {};
  return each_entry(entry, [&](const Entry& inner) { return walk(inner, see); });
}

// The same for a part of it.
template <class See>
Result<> walk_part(const Entry& top, const Entry& entry, const Part& part, See& see) {
  TRY(see(entry));
  if (entry.type() != S_IFDIR) return {};
  return each_entry(entry, [&](const Entry& inner) {
    return part.takes(below(inner, top)) ? walk_part(top, inner, part, see) : Result<>();
  });
}

class Copy {
 public:
  Copy(const Entry& top, const Part& part, bool dressed) : top_(top), part_(part), dressed_(dressed) {}

  Result<> fill(const Entry& from, const Entry& to) {
    TRY(each_entry(
        from, [&](const Entry& entry) { return part_.takes(below(entry, top_)) ? copy(entry, to) : Result<>(); }));
    // Last: a default ACL would be inherited, and each new name changes the time.
    if (&from == &top_ && !dressed_) return {};
    return set_attributes(from, to);
  }
  std::vector<std::string> kept;

 private:
  Result<> copy(const Entry& entry, const Entry& directory) {
    std::string name = entry.path.substr(entry.path.rfind('/') + 1);
    auto made = make(entry, directory.file.get(), name);
    std::string path = directory.path + "/" + name;
    bool existed = !made && made.error().code == EEXIST;
    if (!made && !existed) return in(path, std::move(made));
    Entry copied = TRY(open_entry(directory.file.get(), name, path, O_NOFOLLOW));
    if (existed && (entry.type() != S_IFDIR || copied.type() != S_IFDIR)) {
      kept.push_back(path);
      return {};
    }
    if (copied.type() != entry.type()) return fail(path + ": somebody else is at work there");
    if (entry.type() == S_IFDIR) return fill(entry, copied);
    if (links_.contains(entry.inode())) return {};
    TRY(set_attributes(entry, copied));
    if (entry.has_other_names()) links_.emplace(entry.inode(), std::move(copied.file));
    return {};
  }

  Result<> make(const Entry& entry, int directory, const std::string& name) {
    if (auto known = links_.find(entry.inode()); known != links_.end()) {
      std::string other = by_descriptor(known->second);
      return done(::linkat(AT_FDCWD, other.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW));
    }
    if (entry.type() == S_IFDIR) return done(::mkdirat(directory, name.c_str(), 0700));
    if (entry.type() == S_IFLNK) return done(::symlinkat(TRY(link_target(entry)).c_str(), directory, name.c_str()));
    if (entry.type() != S_IFREG) return done(::mknodat(directory, name.c_str(), entry.type() | 0600, entry.device()));
    Fd file = TRY(open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW));
    TRY(read_contents(entry, [&](off_t at, std::string_view bytes) -> Result<> {
      for (size_t written = 0; written < bytes.size();) {
        ssize_t more =
            ::pwrite(file.get(), bytes.data() + written, bytes.size() - written, at + static_cast<off_t>(written));
        if (more < 0) return fail_errno("write");
        written += static_cast<size_t>(more);
      }
      return {};
    }));
    return done(::ftruncate(file.get(), static_cast<off_t>(entry.status.stx_size)));
  }

  static Result<> done(int result) {
    if (result < 0) return fail_errno("copy");
    return {};
  }

  // In this order: a change of the owner takes set-user-ID bits and capabilities away.
  static Result<> set_attributes(const Entry& from, const Entry& to) {
    const struct statx& status = from.status;
    constexpr int kThis = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    if (::fchownat(to.file.get(), "", status.stx_uid, status.stx_gid, kThis)) return fail_errno(to.path + ": owner");
    std::string path = by_descriptor(to.file);
    if (from.type() != S_IFLNK) {
      if (::chmod(path.c_str(), status.stx_mode & 07777)) return fail_errno(to.path + ": mode");
      for (const auto& [name, value] : TRY(attributes_of(from)))
        if (::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0))
          return fail_errno(fmt::format("{}: {}", to.path, name));
    }
    timespec times[] = {{status.stx_atime.tv_sec, status.stx_atime.tv_nsec},
                        {status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec}};
    if (::utimensat(to.file.get(), "", times, AT_EMPTY_PATH)) return fail_errno(to.path + ": times");
    return {};
  }

  const Entry& top_;
  const Part& part_;
  bool dressed_;
  std::map<Inode, Fd> links_;  // the copies of files with several names
};

void add(Checksum& sum, std::string_view text) {
  sum.add(fmt::format("{} ", text.size()));
  sum.add(text);
}

Result<> add_entry(Checksum& sum, const Entry& entry, const std::string& name, size_t first_name) {
  const struct statx& status = entry.status;
  add(sum, name);
  bool sized = entry.type() == S_IFREG;
  sum.add(fmt::format("{:o} {} {} {} {} {}.{} {} ", status.stx_mode, status.stx_uid, status.stx_gid, entry.device(),
                      sized ? status.stx_size : 0, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec, first_name));
  for (const auto& [attribute, value] : TRY(attributes_of(entry))) {
    add(sum, attribute);
    add(sum, value);
  }
  if (entry.type() == S_IFLNK) add(sum, TRY(link_target(entry)));
  if (!sized) return {};
  return read_contents(entry, [&](off_t at, std::string_view bytes) -> Result<> {
    sum.add(fmt::format("{} ", at));
    add(sum, bytes);
    return {};
  });
}

// Calls `use(entry, its counterpart below another directory, the path of both)` where there is one; what is in a
// directory comes before it.
template <class Use>
Result<> each_in_both(const Entry& top, const Entry& from, const Entry& to, Use& use) {
  return each_entry(from, [&](const Entry& entry) -> Result<> {
    std::string path = below(entry, top), name = path.substr(path.rfind('/') + 1);
    auto other = open_entry(to.file.get(), name, to.path + "/" + name, O_NOFOLLOW);
    if (!other && other.error().code == ENOENT) return {};
    if (!other) return std::unexpected(other.error());
    if (entry.type() == S_IFDIR && other->type() == S_IFDIR) TRY(each_in_both(top, entry, *other, use));
    return use(to, *other, path);
  });
}

}  // namespace

bool Part::takes(std::string_view path) const {
  if (!only) return !paths.contains(std::string(path));
  for (size_t end = path.find('/');; end = path.find('/', end + 1)) {
    if (paths.contains(std::string(path.substr(0, end)))) return true;
    if (end == std::string_view::npos) return false;
  }
}

Result<uint64_t> measure_tree(const std::string& directory, const Part& part) {
  uint64_t bytes = 0;
  std::set<Inode> seen;
  auto see = [&](const Entry& entry) -> Result<> {
    if (entry.status.stx_attributes & kUnchangeable)
      return fail(entry.path + ": immutable or append-only (chattr(1)), which is not supported yet");
    constexpr uint64_t kNode = 4096;  // the least that a file or a directory takes
    if (seen.insert(entry.inode()).second) bytes += entry.status.stx_blocks * 512 + kNode;
    return {};
  };
  Entry top = TRY(open_top(directory));
  TRY(walk_part(top, top, part, see));
  return bytes;
}

Result<std::string> digest_tree(const std::string& directory) {
  Checksum sum;
  Entry top = TRY(open_top(directory));
  std::map<Inode, size_t> links;
  auto see = [&](const Entry& entry) -> Result<> {
    size_t first_name = 0;
    if (entry.has_other_names()) first_name = links.try_emplace(entry.inode(), links.size() + 1).first->second;
    return add_entry(sum, entry, entry.path.substr(top.path.size()), first_name);
  };
  TRY(walk(top, see));
  return sum.finish();
}

Result<std::vector<std::string>> copy_tree(const std::string& from, const std::string& to, const Part& part,
                                           bool dressed) {
  Entry top = TRY(open_top(from));
  Copy copy(top, part, dressed);
  TRY(copy.fill(top, TRY(open_top(to))));
  return std::move(copy.kept);
}

Result<std::set<std::string>> in_the_way(const std::string& from, const std::string& to) {
  std::set<std::string> found;
  auto note = [&](const Entry&, const Entry&, const std::string& path) -> Result<> {
    found.insert(path);
    return {};
  };
  Entry top = TRY(open_top(from));
  TRY(each_in_both(top, top, TRY(open_top(to)), note));
  return found;
}

Result<> remove_copy(const std::string& from, const std::string& to, const std::set<std::string>& found) {
  auto remove = [&](const Entry& directory, const Entry& entry, const std::string& path) -> Result<> {
    if (found.contains(path)) return {};
    int flags = entry.type() == S_IFDIR ? AT_REMOVEDIR : 0;
    std::string name = path.substr(path.rfind('/') + 1);
    if (::unlinkat(directory.file.get(), name.c_str(), flags) && errno != ENOENT && errno != ENOTEMPTY)
      return fail_errno(entry.path);
    return {};
  };
  Entry top = TRY(open_top(from));
  return each_in_both(top, top, TRY(open_top(to)), remove);
}

}  // namespace ks::upgrade
