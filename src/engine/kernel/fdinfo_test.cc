// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/fdinfo.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

namespace ks::engine {
namespace {

TEST(FdInfoLines, Epoll) {
  auto line = parse_epoll_line("tfd:        5 events: c000001d data: ffffffffffffffff  pos:0 ino:61af sdev:800013");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->number, 5);
  EXPECT_EQ(line->events, 0xc000001du);
  EXPECT_EQ(line->data, ~uint64_t{0});
  EXPECT_EQ(line->inode, 0x61afu);
  EXPECT_EQ(line->device, makedev(8, 0x13));
  for (auto bad :
       {"", "tfd: 5", "tfd: x events: 1 data: 1 pos:0 ino:1 sdev:1", "tfd: 5 events: 1 data: pos:0 ino:1 sdev:1"})
    EXPECT_FALSE(parse_epoll_line(bad)) << bad;
}

TEST(FdInfoLines, Inotify) {
  auto line = parse_inotify_line(
      "inotify wd:1f ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 "
      "f_handle:7e9e0000640d1b6d");
  ASSERT_TRUE(line);
  EXPECT_EQ(line->watch, 31);
  EXPECT_EQ(line->mask, 0x800afceu);
  EXPECT_EQ(line->handle_type, 1);
  EXPECT_EQ(line->handle, std::string("\x7e\x9e\0\0\x64\x0d\x1b\x6d", 8));
  auto bare = parse_inotify_line("inotify wd:1 ino:1 sdev:1 mask:1 ignored_mask:0 ");
  ASSERT_TRUE(bare);
  EXPECT_EQ(bare->handle, "");
  for (auto bad :
       {"inotify", "inotify wd:1 ino:1 sdev:1 mask:z", "inotify wd:1 ino:1 sdev:1 mask:1 fhandle-type:1 f_handle:7"})
    EXPECT_FALSE(parse_inotify_line(bad)) << bad;
}

TEST(FdInfoLines, Lock) {
  auto flock = parse_lock_line("lock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF");
  ASSERT_TRUE(flock);
  EXPECT_EQ(flock->kind, LockLine::Kind::flock);
  EXPECT_TRUE(flock->write);
  EXPECT_EQ(flock->pid, 359);
  EXPECT_EQ(flock->length, 0);
  auto record = parse_lock_line("lock:\t1: POSIX  ADVISORY  READ 5 fe:00:12 2 4");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->kind, LockLine::Kind::record);
  EXPECT_FALSE(record->write);
  EXPECT_EQ(record->start, 2);
  EXPECT_EQ(record->length, 3);
  auto description = parse_lock_line("lock:\t1: OFDLCK ADVISORY  WRITE -1 fe:00:12 0 0");
  ASSERT_TRUE(description);
  EXPECT_EQ(description->pid, -1);
  EXPECT_EQ(description->length, 1);
  auto lease = parse_lock_line("lock:\t1: LEASE  BREAKING  READ 41 fe:00:12 0 EOF");
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->state, "BREAKING");
  for (auto bad : {"", "lock:", "lock:\t1: ODD  ADVISORY  READ 5 fe:00:12 2 4",
                   "lock:\t1: POSIX  ADVISORY  READ 5 fe:00:12 2 1"})
    EXPECT_FALSE(parse_lock_line(bad)) << bad;
}

TEST(Fdinfo, FanotifyLines) {
  auto group = parse_fanotify_group("fanotify flags:cb0 event-flags:48002");
  ASSERT_TRUE(group);
  EXPECT_EQ(*group, (FanotifyGroup{.flags = 0xcb0, .event_flags = 0x48002}));
  auto mark = parse_fanotify_mark(
      "fanotify ino:a8e020 sdev:fe00000 mflags:40 mask:48000038 ignored_mask:8 fhandle-bytes:8 fhandle-type:1 "
      "f_handle:20e0a8000d4fd0ef");
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->object, FanotifyMark::Object::inode);
  EXPECT_EQ(mark->inode, 0xa8e020u);
  EXPECT_EQ(mark->flags, 0x40u);
  EXPECT_EQ(mark->mask, 0x48000038u);
  EXPECT_EQ(mark->ignored, 8u);
  EXPECT_EQ(mark->handle.size(), 8u);
  mark = parse_fanotify_mark("fanotify mnt_id:1e mflags:0 mask:2 ignored_mask:0");
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->object, FanotifyMark::Object::mount);
  EXPECT_EQ(mark->mount, 0x1eu);
  EXPECT_EQ(parse_fanotify_mark("fanotify sdev:1b mflags:0 mask:1000 ignored_mask:0")->object,
            FanotifyMark::Object::file_system);
  EXPECT_EQ(parse_fanotify_mark("fanotify mnt_ns:7 mflags:0 mask:1 ignored_mask:0")->object,
            FanotifyMark::Object::unknown);
  EXPECT_FALSE(parse_fanotify_mark("fanotify sdev:x mflags:0 mask:1000 ignored_mask:0"));
  EXPECT_FALSE(parse_fanotify_group("fanotify flags:3"));
}

}  // namespace
}  // namespace ks::engine
