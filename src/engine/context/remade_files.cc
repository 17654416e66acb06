// SPDX-License-Identifier: LGPL-2.1-or-later
// Carried files on their way back.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <bit>

#include "base/file.h"
#include "engine/context/carried_content.h"
#include "engine/context/carried_files.h"
#include "engine/context/mapped_files.h"
#include "engine/context/system_v_memory.h"
#include "engine/kernel/pagemap.h"

namespace ks::engine {

namespace {

using File = image::CarriedFileList::File;

constexpr std::string_view kKind = "carried-files";
constexpr uint32_t kVersion = 1;
constexpr const char* kFileName = "carried-files.ks";

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U  // since 6.3
#endif

bool is_directory(const File& file) { return S_ISDIR(file.mode()); }

Result<Fd> make_memfd(const File& file) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (file.huge_page())
    flags |= MFD_HUGETLB | static_cast<unsigned>(std::countr_zero(file.huge_page())) << MFD_HUGE_SHIFT;
  int fd = ::memfd_create(file.path().c_str(), flags | MFD_EXEC);
  if (fd < 0 && (errno == EINVAL || errno == EACCES)) fd = ::memfd_create(file.path().c_str(), flags);
  if (fd < 0) return fail_errno("memfd_create");
  return Fd(fd);
}

// The mapping itself goes; the file behind it is what processes will map.
Result<Fd> make_anonymous(const File& file) {
  uint64_t page = file.huge_page() ? file.huge_page() : kPageSize;
  uint64_t bytes = std::max<uint64_t>((file.bytes() + page - 1) / page * page, page);
  // Pages of hugetlbfs are not reserved for longer than this mapping lasts.
  int flags = MAP_SHARED | MAP_ANONYMOUS;
  if (file.huge_page()) flags |= MAP_NORESERVE | MAP_HUGETLB | std::countr_zero(file.huge_page()) << MAP_HUGE_SHIFT;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (at == MAP_FAILED) return fail_errno(fmt::format("{} bytes of shared memory", bytes));
  auto start = reinterpret_cast<uint64_t>(at);
  auto fd = open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + bytes), O_RDWR);
  ::munmap(at, bytes);
  return fd;
}

}  // namespace

Result<Fd> open_above(int root, const File& file) {
  std::string path = file.path().substr(0, std::max<size_t>(file.path().rfind('/'), 1));
  for (const auto& wanted : file.above()) {
    auto found = open_in_root(root, wanted.path(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (found || found.error().code != ENOENT) continue;
    size_t slash = wanted.path().rfind('/');
    Fd above = TRY(open_in_root(root, wanted.path().substr(0, std::max<size_t>(slash, 1)), O_RDONLY | O_DIRECTORY));
    std::string name = wanted.path().substr(slash + 1);
    if (::mkdirat(above.get(), name.c_str(), 0700)) return fail_errno(wanted.path());
    Fd made = TRY(open_at(above.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fchown(made.get(), wanted.uid(), wanted.gid()) || ::fchmod(made.get(), wanted.mode()))
      return fail_errno(wanted.path());
  }
  return open_in_root(root, path, O_RDONLY | O_DIRECTORY);
}

namespace {

// Beside O_PATH no other flag means anything.
int opening_flags(int flags) {
  return flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : (flags & ~O_TRUNC) | O_NOCTTY;
}

Result<> open_by_name(int directory, const std::string& name, const File& file, RemadeFiles& remade) {
  for (const auto& opening : file.openings())
    remade.openings.emplace(opening.file(),
                            TRY(open_at(directory, name, opening_flags(static_cast<int>(opening.flags())))));
  return {};
}

// Makes it under a name, opens it in all the ways that need one, and takes the name away.
class Nameless {
 public:
  Nameless(const File& file, RemadeFiles& remade) : file_(file), remade_(remade) {}

  Result<Fd> make(int directory) {
    const image::CarriedFileList::Opening* temporary = nullptr;
    for (const auto& opening : file_.openings())
      if ((opening.flags() & O_TMPFILE) == O_TMPFILE) temporary = &opening;
    if (temporary) return make_temporary(directory, *temporary);
    TRY(create(directory));
    Result<Fd> fd = open_all(directory);
    if (::unlinkat(directory, name_.c_str(), is_directory(file_) ? AT_REMOVEDIR : 0)) return fail_errno("unlink");
    return fd;
  }

 private:
  // Its last name, if nobody has taken that.
  Result<> create(int directory) {
    for (int attempt = 0; attempt < 100; ++attempt) {
      name_ = file_.path().substr(file_.path().rfind('/') + 1);
      if (attempt) name_ = fmt::format(".kernel-swap-{}-{}", ::getpid(), attempt);
      if (is_directory(file_)) {
        if (::mkdirat(directory, name_.c_str(), 0700) == 0) return {};
      } else {
        Fd made(::openat(directory, name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (made) return {};
      }
      if (errno != EEXIST) break;
    }
    return fail_errno("making it");
  }

  Result<Fd> open_all(int directory) {
    TRY(open_by_name(directory, name_, file_, remade_));
    return open_at(directory, name_, (is_directory(file_) ? O_RDONLY | O_DIRECTORY : O_RDWR) | O_NOFOLLOW);
  }

  // Only the open file that made it has the flag, so this one becomes that.
  Result<Fd> make_temporary(int directory, const image::CarriedFileList::Opening& opening) {
    Fd first(::openat(directory, ".", static_cast<int>(opening.flags()) | O_CLOEXEC, 0600));
    if (!first) return fail_errno("O_TMPFILE");
    for (const auto& other : file_.openings())
      if (other.file() != opening.file())
        remade_.openings.emplace(other.file(), TRY(reopen(first.get(), static_cast<int>(other.flags()))));
    Fd fd = TRY(reopen(first.get(), O_RDWR));
    remade_.openings.emplace(opening.file(), std::move(first));
    return fd;
  }

  const File& file_;
  RemadeFiles& remade_;
  std::string name_;
};

// In the directory where it was; where that is gone or cannot be written to, beside the image.
Result<Fd> make_nameless(const ImageReader& image, int root, const File& file, RemadeFiles& remade) {
  std::string path = file.path().substr(0, std::max<size_t>(file.path().rfind('/'), 1));
  if (auto directory = open_in_root(root, path, O_RDONLY | O_DIRECTORY))
    if (auto made = Nameless(file, remade).make(directory->get())) return made;
  for (const auto& opening : file.openings()) remade.openings.erase(opening.file());
  return Nameless(file, remade).make(image.directory());
}

bool is_unchanged(const File& file, const struct stat& stat) {
  return static_cast<uint64_t>(stat.st_size) == file.bytes() && stat.st_mtim.tv_sec == file.modified_seconds() &&
         stat.st_mtim.tv_nsec == file.modified_nanoseconds();
}

// `keep`: it is there already, with its content.
Result<Fd> make_named(const ImageReader& image, int root, const File& file, RemadeFiles& remade, bool& keep) {
  Fd above = TRY(open_above(root, file));
  struct statfs system{};
  if (::fstatfs(above.get(), &system)) return fail_errno(file.path());
  if (static_cast<uint64_t>(system.f_type) != file.file_system())
    return fail("its file system in memory is not mounted there");
  std::string name = file.path().substr(file.path().rfind('/') + 1);
  if (is_directory(file)) {
    if (name.empty()) name = ".";
    keep = ::mkdirat(above.get(), name.c_str(), 0700) != 0;
    if (keep && errno != EEXIST) return fail_errno("mkdir");
    TRY(open_by_name(above.get(), name, file, remade));
    return open_at(above.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  }
  Fd made(::openat(above.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (made) {
    TRY(open_by_name(above.get(), name, file, remade));
    return made;
  }
  if (errno != EEXIST) return fail_errno("making it");
  Fd found = TRY(open_at(above.get(), name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat stat{};
  if (::fstat(found.get(), &stat)) return fail_errno("fstat");
  if (!S_ISREG(stat.st_mode) || stat.st_uid != file.uid()) return fail("something else has its place");
  // It is written by others, who may have done so since. The one that was read is then a deleted one.
  keep = !file.writable() && is_unchanged(file, stat);
  if (!file.writable() && !keep) return make_nameless(image, root, file, remade);
  if (!keep && ::ftruncate(found.get(), 0)) return fail_errno("ftruncate");
  TRY(open_by_name(above.get(), name, file, remade));
  return found;
}

Result<> dress(int fd, const File& file) {
  if (::fchown(fd, file.uid(), file.gid())) return fail_errno("fchown");
  if (::fchmod(fd, file.mode() & 07777)) return fail_errno("fchmod");
  for (const auto& attribute : file.attributes())
    if (::fsetxattr(fd, attribute.name().c_str(), attribute.value().data(), attribute.value().size(), 0))
      return fail_errno(attribute.name());
  timespec times[] = {{file.accessed_seconds(), file.accessed_nanoseconds()},
                      {file.modified_seconds(), file.modified_nanoseconds()}};
  if (::futimens(fd, times)) return fail_errno("futimens");
  return {};
}

Result<Fd> remake(const ImageReader& image, int root, const MadeNamespaces& namespaces, IpcGuard& guard,
                  const File& file, RemadeFiles& remade) {
  bool keep = false;
  Result<Fd> made;
  switch (file.origin()) {
    case File::ANONYMOUS:
      made = make_anonymous(file);
      break;
    case File::MEMFD:
      made = make_memfd(file);
      break;
    case File::NAMED:
      made = make_named(image, root, file, remade, keep);
      break;
    case File::DELETED:
      made = make_nameless(image, root, file, remade);
      break;
    case File::SYSTEM_V:
      made = in(label_of(SystemVType::memory, file.system_v().id()), remake_segment(file, namespaces, guard));
      break;
    default:
      return fail("of an unknown origin");
  }
  Fd fd = TRY(std::move(made));
  if (!is_directory(file) && !keep) {
    if (::ftruncate(fd.get(), static_cast<off_t>(file.bytes()))) return fail_errno("ftruncate");
    TRY(read_content(image, fd.get(), file));
  }
  if (!keep && file.origin() != File::SYSTEM_V) TRY(dress(fd.get(), file));
  // An executable must not be open for writing (execve(2), ETXTBSY), and that is how we keep them all.
  return is_directory(file) ? std::move(fd) : TRY(reopen(fd.get(), O_RDONLY));
}

Result<image::CarriedFileList> read_list(const ImageReader& image) {
  Envelope envelope = TRY(in(kFileName, open_envelope(TRY(image.read(kFileName)), kKind, kVersion)));
  image::CarriedFileList list;
  TRY(parse_body(envelope, list));
  return list;
}

}  // namespace

Result<Fd> reopen(int fd, int flags) {
  // It leads to the file through a link, and the file is made.
  return open_file(fmt::format("/proc/self/fd/{}", fd),
                   (flags & ~(O_NOFOLLOW | O_CREAT | O_EXCL | (O_TMPFILE & ~O_DIRECTORY))) | O_NOCTTY);
}

Result<RemadeFiles> remake_carried_files(const ImageReader& image, int root, const MadeNamespaces& namespaces,
                                         IpcGuard& guard) {
  RemadeFiles remade;
  for (auto list = TRY(read_list(image)); const auto& file : list.files())
    remade.files.emplace(file.id(), TRY(in(file.path(), remake(image, root, namespaces, guard, file, remade))));
  return remade;
}

Result<> seal_carried_files(const ImageReader& image, RemadeFiles& remade, const MadeNamespaces& namespaces) {
  for (auto list = TRY(read_list(image)); const auto& file : list.files()) {
    if (file.origin() == File::SYSTEM_V) TRY(in(file.path(), finish_segment(file.system_v(), namespaces)));
    if (!file.seals()) continue;
    auto found = remade.files.find(file.id());
    if (found == remade.files.end()) return fail("a sealed file is missing");
    Fd fd = TRY(reopen(found->second.get(), O_RDWR));
    if (::fcntl(fd.get(), F_ADD_SEALS, file.seals())) return fail_errno("sealing memfd " + file.path());
  }
  return {};
}

}  // namespace ks::engine
