//! Scenarios with one node's volumes: real filesystems whose disks fail, hang and slow down while a
//! node records to them. They need root and the Debian packages that `holdfast_chaos::faulty`
//! names; on other machines they are skipped with a message.

mod adopted;
mod failed;
mod full;
mod hung;
mod mounts;
mod retired;
mod rig;
mod slow;
