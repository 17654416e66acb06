// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/system_v_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

#include <bit>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

namespace {

using File = image::CarriedFileList::File;
using SystemV = image::CarriedFileList::SystemV;

constexpr std::string_view kPrefix = "/SYSV";  // and its key, in eight hexadecimal digits
constexpr uint64_t kPage = 4096;

uint64_t whole_pages(uint64_t bytes, uint64_t page) { return (bytes + page - 1) / page * page; }

int flags_of(const File& file) {
  if (!file.huge_page()) return 0;
  int size = std::countr_zero(file.huge_page()) << MAP_HUGE_SHIFT;  // which shmget(2) has in common with mmap(2)
  return SHM_HUGETLB | size | (file.system_v().no_reserve() ? SHM_NORESERVE : 0);
}

// The kernel reserves all huge pages of a segment at once, or none (SHM_NORESERVE), and does not tell which. Where
// fewer are reserved, for anybody, than this one lacks, none of its are.
Result<bool> is_unreserved(const File& file, const struct stat& stat) {
  constexpr uint64_t kBlock = 512;
  uint64_t lacking =
      file.bytes() / file.huge_page() - static_cast<uint64_t>(stat.st_blocks) * kBlock / file.huge_page();
  auto path = fmt::format("/sys/kernel/mm/hugepages/hugepages-{}kB/resv_hugepages", file.huge_page() / 1024);
  auto reserved = parse_number<uint64_t>(trim(TRY(read_file(path))));
  if (!reserved) return fail(path + ": cannot be read");
  return *reserved < lacking;
}

// A magic link to what we have attached there.
Result<std::string> link_to(const void* at) {
  auto start = reinterpret_cast<uint64_t>(at);
  for (const Vma& area : TRY(parse_maps(TRY(read_file("/proc/self/maps")))))
    if (area.start == start) return fmt::format("/proc/self/map_files/{:x}-{:x}", start, area.end);
  return fail("is not where it has been attached");
}

bool is_same(const shmid_ds& segment, const SystemV& wanted) {
  return segment.shm_perm.__key == wanted.key() && segment.shm_segsz == wanted.bytes() &&
         segment.shm_cpid == wanted.creator() && segment.shm_ctime == wanted.changed();
}

Result<> make(const File& file) {
  const SystemV& from = file.system_v();
  auto under = [&](key_t key) {
    return make_system_v(SystemVType::memory, from.id(), key, from.mode(), from.bytes(),
                         {.uid = from.creator_uid(), .gid = from.creator_gid()}, flags_of(file));
  };
  auto made = under(from.first_key());
  // A key that has been given up may be another's by now.
  if (!made && made.error().code == EEXIST && from.mode() & SHM_DEST) made = under(IPC_PRIVATE);
  if (!made && made.error().code == ENOMEM && file.huge_page())
    return fail("huge pages (are enough reserved in vm.nr_hugepages?)", ENOMEM);
  TRY(std::move(made));
  shmid_ds there{};
  if (::shmctl(from.id(), IPC_STAT, &there)) return fail_errno("IPC_STAT");
  there.shm_perm.uid = from.uid();
  there.shm_perm.gid = from.gid();
  there.shm_perm.mode = static_cast<unsigned short>(from.mode() & 0777);
  if (::shmctl(from.id(), IPC_SET, &there)) return fail_errno("IPC_SET");
  return {};
}

// Whether it is there, and is it.
Result<bool> find(const SystemV& from) {
  shmid_ds there{};
  if (::shmctl(from.id(), IPC_STAT, &there)) return false;
  if (!is_same(there, from)) return fail("is somebody else's by now");
  if (there.shm_nattch) return fail("is in use");
  return true;
}

}  // namespace

Result<> describe_segment(const SegmentUse& use, const std::string& path, const struct stat& stat, File& file) {
  const shmid_ds& segment = use.object->memory;
  uint64_t page = file.huge_page() ? file.huge_page() : kPage;
  if (whole_pages(segment.shm_segsz, page) != whole_pages(static_cast<uint64_t>(stat.st_size), page) ||
      !path.starts_with(kPrefix))
    return refuse(path + ": is not the System V shared memory of that number");
  auto key = parse_number<uint32_t>(std::string_view(path).substr(kPrefix.size(), 8), 16);
  if (!key) return refuse(path + ": has no key");
  file.set_origin(File::SYSTEM_V);
  SystemV& out = *file.mutable_system_v();
  put_identity(use.name_space, *use.object, out);
  out.set_first_key(static_cast<int32_t>(*key));
  out.set_mode(segment.shm_perm.mode);
  out.set_bytes(segment.shm_segsz);
  out.set_creator(segment.shm_cpid);
  if (file.huge_page()) out.set_no_reserve(TRY(is_unreserved(file, stat)));
  return {};
}

Result<AttachedSegment> AttachedSegment::attach(const SystemVObject& object) {
  void* at = ::shmat(object.id, nullptr, SHM_RDONLY);
  if (at == reinterpret_cast<void*>(-1)) return fail_errno(object.label());
  AttachedSegment attached(at);
  attached.link_ = TRY(in(object.label(), link_to(at)));
  return attached;
}

AttachedSegment::~AttachedSegment() {
  if (at_) ::shmdt(at_);
}

Result<Fd> remake_segment(const File& file, const MadeNamespaces& namespaces, IpcGuard& guard) {
  const SystemV& from = file.system_v();
  bool there = false;
  TRY(namespaces.in_ipc(from.name_space(), [&]() -> Result<> {
    there = TRY(find(from));
    return {};
  }));
  if (!there) TRY(guard.make(from.name_space(), SystemVType::memory, from.id(), [&] { return make(file); }));
  Fd content;
  TRY(namespaces.in_ipc(from.name_space(), [&]() -> Result<> {
    void* at = ::shmat(from.id(), nullptr, 0);
    if (at == reinterpret_cast<void*>(-1)) return fail_errno("shmat");
    auto link = link_to(at);
    auto opened = link ? open_file(*link, O_RDWR) : Result<Fd>(std::unexpected(link.error()));
    ::shmdt(at);
    content = TRY(std::move(opened));
    return {};
  }));
  return content;
}

Result<> finish_segment(const SystemV& from, const MadeNamespaces& namespaces) {
  return namespaces.in_ipc(from.name_space(), [&]() -> Result<> {
    if (from.mode() & SHM_LOCKED && ::shmctl(from.id(), SHM_LOCK, nullptr)) return fail_errno("SHM_LOCK");
    if (from.mode() & SHM_DEST && ::shmctl(from.id(), IPC_RMID, nullptr)) return fail_errno("IPC_RMID");
    return {};
  });
}

}  // namespace ks::engine
