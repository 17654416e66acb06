// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/system_v_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

using File = image::CarriedFileList::File;
using SystemV = image::CarriedFileList::SystemV;

constexpr std::string_view kPrefix = "/SYSV";  // and its key, in eight hexadecimal digits
constexpr uint64_t kPage = 4096;

uint64_t whole_pages(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

bool is_same(const shmid_ds& segment, const SystemV& wanted) {
  return segment.shm_perm.__key == wanted.key() && segment.shm_segsz == wanted.bytes() &&
         segment.shm_cpid == wanted.creator() && segment.shm_ctime == wanted.changed();
}

// This thread alone, for as long as the object lives: who makes a segment is its creator for ever.
class Disguise {
 public:
  Disguise(uint32_t uid, uint32_t gid) {
    constexpr int kAsItIs = -1;
    (void)::syscall(SYS_setresgid, kAsItIs, gid, kAsItIs);
    (void)::syscall(SYS_setresuid, kAsItIs, uid, kAsItIs);
  }
  Disguise(const Disguise&) = delete;
  ~Disguise() {
    (void)::syscall(SYS_setresuid, -1, 0, -1);
    (void)::syscall(SYS_setresgid, -1, 0, -1);
  }
};

// The kernel takes the id that is asked for if it is free, and else another.
Result<int> make_under(const SystemV& from, key_t key) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    TRY(write_value("/proc/sys/kernel/shm_next_id", std::to_string(from.id())));
    int id = -1, error = 0;
    {
      Disguise disguise(from.creator_uid(), from.creator_gid());
      id = ::shmget(key, from.bytes(), static_cast<int>(IPC_CREAT | IPC_EXCL | (from.mode() & 0777)));
      error = errno;
    }
    if (id == from.id()) return id;
    if (id < 0) return fail_errno("shmget", error);
    ::shmctl(id, IPC_RMID, nullptr);
  }
  return fail("its id is taken");
}

}  // namespace

Result<> describe_segment(const std::string& path, const struct stat& stat, File& file) {
  auto id = static_cast<int>(stat.st_ino);
  shmid_ds segment{};
  if (::shmctl(id, IPC_STAT, &segment)) return fail_errno(path);
  if (whole_pages(segment.shm_segsz) != whole_pages(static_cast<uint64_t>(stat.st_size)))
    return refuse(path + ": is not the System V shared memory of that number");
  auto key = parse_number<uint32_t>(std::string_view(path).substr(kPrefix.size(), 8), 16);
  if (!key) return refuse(path + ": has no key");
  file.set_origin(File::SYSTEM_V);
  SystemV& out = *file.mutable_system_v();
  out.set_id(id);
  out.set_key(segment.shm_perm.__key);
  out.set_first_key(static_cast<int32_t>(*key));
  out.set_mode(segment.shm_perm.mode);
  out.set_uid(segment.shm_perm.uid);
  out.set_gid(segment.shm_perm.gid);
  out.set_creator_uid(segment.shm_perm.cuid);
  out.set_creator_gid(segment.shm_perm.cgid);
  out.set_bytes(segment.shm_segsz);
  out.set_creator(segment.shm_cpid);
  out.set_changed(segment.shm_ctime);
  return {};
}

Result<RemadeSegment> RemadeSegment::make(const File& file) {
  const SystemV& from = file.system_v();
  shmid_ds there{};
  if (::shmctl(from.id(), IPC_STAT, &there) == 0) {
    if (!is_same(there, from))
      return fail(fmt::format("System V shared memory {} is somebody else's by now", from.id()));
    if (there.shm_nattch) return fail(fmt::format("System V shared memory {} is in use", from.id()));
    return RemadeSegment(from.id(), false);
  }
  auto made = make_under(from, from.first_key());
  // A key that has been given up may be another's by now.
  if (!made && made.error().code == EEXIST && from.mode() & SHM_DEST) made = make_under(from, IPC_PRIVATE);
  RemadeSegment segment(TRY(in(fmt::format("System V shared memory {}", from.id()), std::move(made))), true);
  if (::shmctl(from.id(), IPC_STAT, &there)) return fail_errno("IPC_STAT");
  there.shm_perm.uid = from.uid();
  there.shm_perm.gid = from.gid();
  there.shm_perm.mode = static_cast<unsigned short>(from.mode() & 0777);
  if (::shmctl(from.id(), IPC_SET, &there)) return fail_errno("IPC_SET");
  return segment;
}

RemadeSegment::~RemadeSegment() {
  if (id_ >= 0 && fresh_) ::shmctl(id_, IPC_RMID, nullptr);
}

Result<Fd> RemadeSegment::open() const {
  shmid_ds segment{};
  if (::shmctl(id_, IPC_STAT, &segment)) return fail_errno("IPC_STAT");
  void* at = ::shmat(id_, nullptr, 0);
  if (at == reinterpret_cast<void*>(-1)) return fail_errno("shmat");
  auto start = reinterpret_cast<uint64_t>(at);
  auto fd =
      open_file(fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + whole_pages(segment.shm_segsz)), O_RDWR);
  ::shmdt(at);
  return fd;
}

Result<> RemadeSegment::finish(const SystemV& from) {
  if (from.mode() & SHM_LOCKED && ::shmctl(id_, SHM_LOCK, nullptr)) return fail_errno("SHM_LOCK");
  if (from.mode() & SHM_DEST && ::shmctl(id_, IPC_RMID, nullptr)) return fail_errno("IPC_RMID");
  return {};
}

}  // namespace ks::engine
