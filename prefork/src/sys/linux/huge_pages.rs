//! Memory in huge pages. A fork copies an entry for each page, so it takes a thousandth of the time where one entry
//! stands for 2 MiB.

use std::fs;
use std::io;

use nix::libc;

/// The size of a huge page. Where it is another one, the system refuses the call.
const HUGE: usize = 2 << 20;
/// `MADV_COLLAPSE`, since Linux 6.1: at once, and also where huge pages are for those who ask.
const COLLAPSE: libc::c_int = 25;

/// A private mapping of this process without a file.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
    /// Bytes of it that are in memory.
    resident: usize,
}

/// Moves the memory of this process into huge pages, as far as the system does that. Memory that is mapped and mostly
/// unused is left alone, because a huge page takes its whole size.
pub(crate) fn use_huge_pages() -> io::Result<()> {
    for Range { start, end, resident } in private_ranges(&fs::read_to_string("/proc/self/smaps")?) {
        let (first, last) = (start.next_multiple_of(HUGE), end - end % HUGE);
        if first < last && resident / 9 >= (end - start) / 10 {
            // SAFETY: the memory keeps its addresses and its content; only what page it is in changes.
            unsafe { libc::madvise(std::ptr::without_provenance_mut(first), last - first, COLLAPSE) };
        }
    }
    Ok(())
}

/// Reads `/proc/*/smaps`: for each mapping a line of addresses, permissions, offset, device, inode and path, and then
/// lines with a name and a number.
fn private_ranges(smaps: &str) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut present: Option<(usize, usize)> = None;
    for line in smaps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(first), Some(second)) = (fields.next(), fields.next()) else { continue };
        if !first.ends_with(':') {
            let inode = fields.nth(2);
            let number = |text| usize::from_str_radix(text, 16).ok();
            let addresses = first.split_once('-').and_then(|(from, to)| number(from).zip(number(to)));
            present = addresses.filter(|_| second == "rw-p" && inode == Some("0"));
        } else if first == "Rss:" {
            let resident = second.parse::<usize>().unwrap_or_default() << 10;
            ranges.extend(present.take().map(|(start, end)| Range { start, end, resident }));
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_mappings_without_a_file_are_found() {
        let smaps = "\
            55d0c0a00000-55d0c0b00000 r-xp 00000000 fe:00 1234 /usr/bin/app\n\
            Size:               1024 kB\nRss:                 512 kB\n\
            7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n\
            Size:               4096 kB\nRss:                4000 kB\nVmFlags: rd wr\n\
            7f0000400000-7f0000800000 rw-s 00000000 00:01 9 /memfd:x (deleted)\n\
            Rss:                4000 kB\n";
        let range = Range { start: 0x7f00_0000_0000, end: 0x7f00_0040_0000, resident: 4000 << 10 };
        assert_eq!(private_ranges(smaps), [range]);
    }

    #[test]
    fn memory_has_the_same_content_afterwards() {
        let memory: Vec<u8> = (0..8 << 20).map(|byte: u32| (byte % 251) as u8).collect();
        use_huge_pages().unwrap();
        assert!(memory.iter().zip(0_u32..).all(|(byte, place)| u32::from(*byte) == place % 251));
    }
}
